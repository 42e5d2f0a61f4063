#include "io/zip.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <unordered_set>

#include "io/limits.h"
#include "io/report.h"

namespace ratel::io {
namespace {

using std::string_view;
using Bytes = std::span<const std::byte>;

constexpr uint32_t kLocal = 0x04034b50, kCentral = 0x02014b50, kEnd = 0x06054b50, kEnd64 = 0x06064b50,
                   kLocator64 = 0x07064b50;
constexpr size_t kLocalBytes = 30, kCentralBytes = 46, kEndBytes = 22, kEnd64Bytes = 56, kLocator64Bytes = 20;
constexpr string_view kNoCrcHint =
    "\nhint: torch.save writes 0 after torch.serialization.set_crc32_options(False); save it again without that";
constexpr uint32_t kFull32 = 0xffffffff;  // "see the zip64 record"
constexpr uint16_t kFull16 = 0xffff, kExtra64 = 1;
constexpr uint16_t kEncrypted = 1 | 1 << 6 | 1 << 13, kSizesFollow = 1 << 3;

/// Little-endian numbers at places that are known to lie in the archive.
class Reader {
 public:
  Reader(Bytes archive, string_view path) : archive_(archive), path_(path) {}

  template <class T>
  [[nodiscard]] T at(uint64_t place) const {
    T value;
    std::memcpy(&value, archive_.data() + place, sizeof value);
    return value;
  }
  [[nodiscard]] string_view text(uint64_t place, size_t length) const {
    return {reinterpret_cast<const char*>(archive_.data()) + place, length};
  }
  [[nodiscard]] uint64_t size() const { return archive_.size(); }
  /// Throws unless `length` bytes lie between `place` and `end`.
  void require(uint64_t place, uint64_t length, uint64_t end, string_view what) const {
    if (place > end || end - place < length)
      refuse(std::min(place, size()), what, " reaches beyond its place; expected ", length, " bytes up to ", end);
  }
  template <class... Parts>
  [[noreturn]] void refuse(uint64_t place, const Parts&... parts) const {
    fail_at(path_, place, parts...);
  }

 private:
  Bytes archive_;
  string_view path_;
};

struct Directory {
  uint64_t begin = 0, end = 0, entries = 0;
};

/// The last end record whose comment ends where the archive does.
uint64_t find_end(const Reader& zip) {
  if (zip.size() >= kEndBytes) {
    const uint64_t last = zip.size() - kEndBytes, first = last - std::min<uint64_t>(last, kFull16);
    for (uint64_t place = last + 1; place-- > first;)
      if (zip.at<uint32_t>(place) == kEnd && place + kEndBytes + zip.at<uint16_t>(place + 20) == zip.size())
        return place;
  }
  zip.refuse(zip.size(), "expected a zip archive, found no end record: not one, or cut short");
}

Directory find_directory(const Reader& zip) {
  const uint64_t end = find_end(zip);
  Directory found{zip.at<uint32_t>(end + 16), end, zip.at<uint16_t>(end + 10)};
  uint64_t bytes = zip.at<uint32_t>(end + 12);
  uint32_t disks = uint32_t{zip.at<uint16_t>(end + 4)} | zip.at<uint16_t>(end + 6);
  uint64_t here = zip.at<uint16_t>(end + 8);
  const bool has_locator = end >= kLocator64Bytes && zip.at<uint32_t>(end - kLocator64Bytes) == kLocator64;
  if (has_locator) {
    const uint64_t locator = end - kLocator64Bytes;
    const auto record = zip.at<uint64_t>(locator + 8);
    zip.require(record, kEnd64Bytes, locator, "the zip64 end record");
    if (zip.at<uint32_t>(record) != kEnd64) zip.refuse(record, "expected a zip64 end record, found none");
    if (const auto size = zip.at<uint64_t>(record + 4); size != locator - record - 12)
      zip.refuse(record, "zip64 end record; expected ", locator - record - 12, " bytes, found ", size);
    disks = zip.at<uint32_t>(record + 16) | zip.at<uint32_t>(record + 20) | zip.at<uint32_t>(locator + 4);
    here = zip.at<uint64_t>(record + 24);
    const auto entries = zip.at<uint64_t>(record + 32), bytes64 = zip.at<uint64_t>(record + 40),
               begin64 = zip.at<uint64_t>(record + 48);
    // Two records that say different things are two archives in one file.
    if ((found.entries != kFull16 && found.entries != entries) || (bytes != kFull32 && bytes != bytes64) ||
        (found.begin != kFull32 && found.begin != begin64))
      zip.refuse(record, "the end record and its zip64 form disagree");
    found = {begin64, record, entries};
    bytes = bytes64;
  }
  if (disks != 0 || here != found.entries) zip.refuse(end, "expected an archive in one piece, found one of several");
  if (found.begin > found.end || bytes != found.end - found.begin)
    zip.refuse(end, "expected a directory that ends at ", found.end, ", found ", bytes, " bytes from ", found.begin);
  if (found.entries > kZipEntries)
    zip.refuse(end, "too many entries; expected at most ", kZipEntries, ", found ", found.entries);
  return found;
}

/// The numbers of a zip64 field, for those that are full in the header, in this order.
void read_extra64(const Reader& zip, uint64_t place, uint64_t end, std::initializer_list<uint64_t*> full) {
  while (end - place >= 4) {
    const auto id = zip.at<uint16_t>(place);
    const auto length = zip.at<uint16_t>(place + 2);
    zip.require(place + 4, length, end, "an extra field");
    if (id == kExtra64) {
      uint64_t at = place + 4;
      for (uint64_t* value : full) {
        zip.require(at, 8, place + 4 + length, "a number of a zip64 field");
        *value = zip.at<uint64_t>(at);
        at += 8;
      }
      return;
    }
    place += 4 + length;
  }
  zip.refuse(place, "expected a zip64 field, found none");
}

void read_numbers(const Reader& zip, uint64_t extra, uint64_t end, std::initializer_list<uint64_t*> numbers) {
  std::vector<uint64_t*> full;
  for (uint64_t* value : numbers)
    if (*value == kFull32) full.push_back(value);
  switch (full.size()) {
    case 0: return;
    case 1: return read_extra64(zip, extra, end, {full[0]});
    case 2: return read_extra64(zip, extra, end, {full[0], full[1]});
    default: return read_extra64(zip, extra, end, {full[0], full[1], full[2]});
  }
}

/// Where the data of an entry lies: behind its local header, which must agree with the directory.
void read_local(const Reader& zip, ZipEntry& entry, uint64_t packed, uint16_t flags, uint64_t files_end) {
  const uint64_t at = entry.header;
  zip.require(at, kLocalBytes, files_end, "a local header");
  if (zip.at<uint32_t>(at) != kLocal)
    zip.refuse(at, "expected the local header of ", in_quotes(entry.name), ", found none");
  const auto name_bytes = zip.at<uint16_t>(at + 26), extra_bytes = zip.at<uint16_t>(at + 28);
  zip.require(at + kLocalBytes, uint64_t{name_bytes} + extra_bytes, files_end, "a local header");
  if (zip.text(at + kLocalBytes, name_bytes) != entry.name)
    zip.refuse(at, "local header; expected the name ", in_quotes(entry.name), ", found ",
               in_quotes(zip.text(at + kLocalBytes, name_bytes)));
  const auto method = zip.at<uint16_t>(at + 8), local_flags = zip.at<uint16_t>(at + 6);
  if (method != static_cast<uint16_t>(entry.method) || ((local_flags ^ flags) & (kEncrypted | kSizesFollow)) != 0)
    zip.refuse(at, "the local header of ", in_quotes(entry.name), " disagrees with the directory");
  entry.begin = at + kLocalBytes + name_bytes + extra_bytes;
  zip.require(entry.begin, packed, files_end, "an entry's data");
  entry.end = entry.begin + packed;
  if ((flags & kSizesFollow) != 0) return;
  uint64_t local_size = zip.at<uint32_t>(at + 22), local_packed = zip.at<uint32_t>(at + 18);
  read_numbers(zip, at + kLocalBytes + name_bytes, entry.begin, {&local_size, &local_packed});
  if (zip.at<uint32_t>(at + 14) != entry.crc32 || local_size != entry.size || local_packed != packed)
    zip.refuse(at, "the local header of ", in_quotes(entry.name), " disagrees with the directory");
}

/// The entry whose central header is at `at`, which then is behind it.
ZipEntry read_entry(const Reader& zip, uint64_t& at, const Directory& directory) {
  zip.require(at, kCentralBytes, directory.end, "a header of the directory");
  if (zip.at<uint32_t>(at) != kCentral) zip.refuse(at, "expected a header of the directory, found none");
  const auto name_bytes = zip.at<uint16_t>(at + 28), extra_bytes = zip.at<uint16_t>(at + 30),
             comment_bytes = zip.at<uint16_t>(at + 32), flags = zip.at<uint16_t>(at + 8),
             method = zip.at<uint16_t>(at + 10);
  const uint64_t extra = at + kCentralBytes + name_bytes, end = extra + extra_bytes + comment_bytes;
  zip.require(at, end - at, directory.end, "a header of the directory");
  ZipEntry entry;
  entry.name = zip.text(at + kCentralBytes, name_bytes);
  if (const auto objection = objection_to(entry.name))
    zip.refuse(at, "the file name ", in_quotes(entry.name), " ", *objection);
  if ((flags & kEncrypted) != 0) zip.refuse(at, in_quotes(entry.name), " is encrypted");
  if (method != static_cast<uint16_t>(ZipMethod::stored) && method != static_cast<uint16_t>(ZipMethod::deflated))
    zip.refuse(at, in_quotes(entry.name), "; expected method 0 (stored) or 8 (deflated), found ", method);
  if (const auto disk = zip.at<uint16_t>(at + 34); disk != 0)
    zip.refuse(at, in_quotes(entry.name), " is on another disk");
  entry.method = static_cast<ZipMethod>(method);
  entry.crc32 = zip.at<uint32_t>(at + 16);
  entry.size = zip.at<uint32_t>(at + 24);
  entry.header = zip.at<uint32_t>(at + 42);
  uint64_t packed = zip.at<uint32_t>(at + 20);
  read_numbers(zip, extra, extra + extra_bytes, {&entry.size, &packed, &entry.header});
  if (entry.method == ZipMethod::stored && packed != entry.size)
    zip.refuse(at, in_quotes(entry.name), " is stored; expected ", entry.size, " bytes of it, found ", packed);
  if (entry.size / kZipRatio > packed)
    zip.refuse(at, in_quotes(entry.name), " would grow too much; expected at most ", kZipRatio, " times, found ",
               packed, " bytes that become ", entry.size);
  read_local(zip, entry, packed, flags, directory.begin);
  at = end;
  return entry;
}

uint32_t crc_of(Bytes bytes) {
  return static_cast<uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

void compare_crc(Bytes content, const ZipEntry& entry, string_view path) {
  if (const uint32_t found = crc_of(content); found != entry.crc32)
    fail_at(path, entry.begin, in_quotes(entry.name), " is damaged; expected CRC-32 ", entry.crc32, ", found ", found,
            entry.crc32 == 0 ? kNoCrcHint : "");
}

}  // namespace

std::vector<ZipEntry> parse_zip(Bytes archive, string_view path) {
  const Reader zip(archive, path);
  const Directory directory = find_directory(zip);
  std::vector<ZipEntry> entries;
  std::unordered_set<string_view> names;
  uint64_t at = directory.begin;
  for (uint64_t i = 0; i < directory.entries; ++i) {
    const uint64_t header = at;
    entries.push_back(read_entry(zip, at, directory));
    if (!names.insert(entries.back().name).second) zip.refuse(header, in_quotes(entries.back().name), " appears twice");
  }
  if (at != directory.end)
    zip.refuse(at, "bytes after the directory; expected its end at ", at, ", found ", directory.end);
  std::vector<const ZipEntry*> sorted;
  for (const ZipEntry& entry : entries) sorted.push_back(&entry);
  std::ranges::sort(sorted, {}, &ZipEntry::header);
  for (size_t i = 1; i < sorted.size(); ++i)
    if (sorted[i]->header < sorted[i - 1]->end)
      zip.refuse(sorted[i]->header, in_quotes(sorted[i]->name), " overlaps ", in_quotes(sorted[i - 1]->name),
                 "; expected it from ", sorted[i - 1]->end, " on");
  return entries;
}

void check_crc(Bytes archive, const ZipEntry& entry, string_view path) {
  compare_crc(archive.subspan(entry.begin, entry.end - entry.begin), entry, path);
}

void inflate(Bytes archive, const ZipEntry& entry, std::span<std::byte> content, string_view path) {
  const auto wrong = [&](string_view what) { fail_at(path, entry.begin, in_quotes(entry.name), " ", what); };
  check(content.size() == entry.size, "inflate: expected room for ", entry.size, " bytes, found ", content.size());
  z_stream stream{};
  if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) throw Error("inflate: no memory", ErrorKind::memory);
  const auto* next = reinterpret_cast<const Bytef*>(archive.data() + entry.begin);
  uint64_t in_left = entry.end - entry.begin, out_left = entry.size;
  Bytef nothing = 0;
  auto* out = content.empty() ? &nothing : reinterpret_cast<Bytef*>(content.data());
  constexpr uint64_t kPiece = 1 << 30;  // zlib counts in 32 bits
  int state = Z_OK;
  stream.next_in = const_cast<Bytef*>(next);
  stream.next_out = out;
  while (state == Z_OK) {
    stream.avail_in = static_cast<uInt>(std::min(in_left, kPiece));
    stream.avail_out = static_cast<uInt>(std::min(out_left, kPiece));
    const uInt in_given = stream.avail_in, out_given = stream.avail_out;
    state = ::inflate(&stream, Z_NO_FLUSH);
    in_left -= in_given - stream.avail_in;
    out_left -= out_given - stream.avail_out;
  }
  inflateEnd(&stream);
  if (state != Z_STREAM_END || in_left != 0 || out_left != 0)
    wrong("is damaged; expected deflated data that fills its size, found other");
  compare_crc(content, entry, path);
}

}  // namespace ratel::io
