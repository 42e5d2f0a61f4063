#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace ratel::test {

/// Puts a zip archive of stored files together. Every number in it may be made to lie.
class ZipMaker {
 public:
  struct Entry {
    std::string name, content;
    uint32_t crc = 0, size = 0, packed = 0, header = 0;
    uint16_t flags = 0, method = 0;
    std::string local_name;        // where it is another
    bool keeps_its_place = false;  // header is what it was set to, and no bytes are written
  };

  ZipMaker& add(std::string_view name, std::string_view content) {
    Entry entry;
    entry.name = name;
    entry.content = content;
    entry.crc = crc32_of(content);
    entry.size = entry.packed = static_cast<uint32_t>(content.size());
    entry.local_name = entry.name;
    entries_.push_back(std::move(entry));
    return *this;
  }
  ZipMaker& crc(uint32_t value) {
    entries_.back().crc = value;
    return *this;
  }
  /// The entry added last, to be changed.
  Entry& last() { return entries_.back(); }

  [[nodiscard]] std::string bytes() const {
    std::string archive, directory;
    uint16_t count = 0;
    for (Entry entry : entries_) {
      if (!entry.keeps_its_place) {
        entry.header = static_cast<uint32_t>(archive.size());
        put(archive, uint32_t{0x04034b50});
        put(archive, uint16_t{20});
        put_common(archive, entry);
        put(archive, static_cast<uint16_t>(entry.local_name.size()));
        put(archive, uint16_t{0});
        archive += entry.local_name + entry.content;
      }
      put(directory, uint32_t{0x02014b50});
      put(directory, uint16_t{20});
      put(directory, uint16_t{20});
      put_common(directory, entry);
      put(directory, static_cast<uint16_t>(entry.name.size()));
      directory.append(12, '\0');  // extra, comment, disk, attributes
      put(directory, entry.header);
      directory += entry.name;
      ++count;
    }
    const auto begin = static_cast<uint32_t>(archive.size());
    archive += directory;
    put(archive, uint32_t{0x06054b50});
    put(archive, uint32_t{0});
    put(archive, count);
    put(archive, count);
    put(archive, static_cast<uint32_t>(directory.size()));
    put(archive, begin);
    put(archive, uint16_t{0});
    return archive;
  }

  static uint32_t crc32_of(std::string_view bytes) {
    uint32_t crc = 0xffffffff;
    for (const char byte : bytes) {
      crc ^= static_cast<unsigned char>(byte);
      for (int bit = 0; bit < 8; ++bit) crc = (crc & 1u) != 0 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
    }
    return ~crc;
  }

 private:
  template <class T>
  static void put(std::string& into, T value) {
    char bytes[sizeof value];
    std::memcpy(bytes, &value, sizeof value);
    into.append(bytes, sizeof value);
  }
  static void put_common(std::string& into, const Entry& entry) {
    put(into, entry.flags);
    put(into, entry.method);
    put(into, uint32_t{0});  // time and date
    put(into, entry.crc);
    put(into, entry.packed);
    put(into, entry.size);
  }

  std::vector<Entry> entries_;
};

}  // namespace ratel::test
