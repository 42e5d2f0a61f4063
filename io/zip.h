#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace ratel::io {

// Zip archives, to be read where they lie: PKWARE's APPNOTE.TXT, with its zip64 records, and of its methods "stored"
// and "deflated". Source: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT

enum class ZipMethod : uint16_t { stored = 0, deflated = 8 };

struct ZipEntry {
  std::string_view name;  ///< of the archive's bytes
  ZipMethod method = ZipMethod::stored;
  uint32_t crc32 = 0;
  uint64_t size = 0;            ///< bytes of its content
  uint64_t begin = 0, end = 0;  ///< where its data lies, from the start of the archive
  uint64_t header = 0;          ///< of its local header
};

/// The files of an archive, in its directory's order. Throws Error(input) "path:offset: what; expected X, found Y"
/// where the directory is not exactly between the files and the end record; for an entry twice, encrypted, of another
/// method, named by an absolute path or with "..", whose local header says otherwise, that overlaps another, or that
/// would grow by more than kZipRatio; for archives of several disks. Nothing is unpacked.
std::vector<ZipEntry> parse_zip(std::span<const std::byte> archive, std::string_view path);

/// Throws Error(input) unless the content of a stored entry has its CRC-32.
void check_crc(std::span<const std::byte> archive, const ZipEntry& entry, std::string_view path);

/// Unpacks a deflated entry into `content`, which has its size, and checks its CRC-32. Throws Error(input).
void inflate(std::span<const std::byte> archive, const ZipEntry& entry, std::span<std::byte> content,
             std::string_view path);

}  // namespace ratel::io
