#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "io/file.h"

namespace ratel::io {

/// A number of TensorBoard's: one point of the curve called `tag`.
struct Scalar {
  std::string tag;
  double value = 0;  ///< written as f32, which is what the format has
};

/// An event file as TensorBoard reads them: TFRecords (length, masked CRC-32C of it, bytes, masked CRC-32C of them),
/// each an Event in protobuf's wire format. docs/formats.md has the layout. Written only.
///
/// A folder has one file a session, events.out.tfevents.N, N being the seconds since 1970 or one more than the largest
/// there is: TensorBoard reads them in the order of their names. A record that a crash cut short is where it goes on to
/// the next file.
class EventFile {
 public:
  /// Starts a new file in the folder. `first_step` is the first step that will be written: what earlier files say of it
  /// and of later ones TensorBoard then drops. Throws Error(disk), Error(input) where the folder may not be read.
  EventFile(const std::string& folder, int64_t first_step);

  /// Adds the numbers of one step as one record, with one write(2). Throws Error(disk).
  void scalars(int64_t step, std::span<const Scalar> values);
  /// Adds a text, shown as Markdown in TensorBoard's tab of texts. Throws Error(disk).
  void text(int64_t step, std::string_view tag, std::string_view markdown);
  /// Returns once the records are on the disk. Throws Error(disk).
  void sync() { file_.sync(); }

 private:
  void write(const std::string& event);

  OutputFile file_;
};

/// CRC-32C (Castagnoli) of bytes. Source: RFC 3720, appendix B.4.
uint32_t crc32c(std::string_view bytes);

}  // namespace ratel::io
