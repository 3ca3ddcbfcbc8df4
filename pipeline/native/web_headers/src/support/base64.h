// Streams in base64 (RFC 4648) around another stream: how a tensor lies in a JSON file.
#pragma once

#include <tvm/support/io.h>

#include <cstdint>
#include <string>

namespace tvm {
namespace support {

inline constexpr char kBase64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

class Base64OutStream : public Stream {
 public:
  using Stream::Read;
  using Stream::Write;
  explicit Base64OutStream(Stream* out) : out_(out) {}

  size_t Read(void*, size_t) final { return 0; }
  size_t Write(const void* data, size_t size) final {
    for (size_t i = 0; i < size; ++i) {
      held_ = held_ << 8 | static_cast<const uint8_t*>(data)[i];
      if (++count_ == 3) Flush(4);
    }
    return size;
  }
  // Write what is held back, padded to four characters.
  void Finish() {
    if (count_ == 0) return;
    size_t characters = count_ + 1;
    held_ <<= 8 * (3 - count_);
    Flush(characters);
  }

 private:
  void Flush(size_t characters) {
    char text[4];
    for (size_t i = 0; i < 4; ++i) text[i] = i < characters ? kBase64[held_ >> (18 - 6 * i) & 63] : '=';
    out_->Write(static_cast<const void*>(text), 4);
    held_ = 0;
    count_ = 0;
  }
  Stream* out_;
  uint32_t held_ = 0;
  size_t count_ = 0;
};

class Base64InStream : public Stream {
 public:
  using Stream::Read;
  using Stream::Write;
  explicit Base64InStream(Stream* in) : in_(in) {}

  void InitPosition() { bits_ = 0; }
  size_t Write(const void*, size_t) final { return 0; }
  size_t Read(void* data, size_t size) final {
    size_t done = 0;
    while (done < size) {
      char character;
      if (in_->Read(static_cast<void*>(&character), 1) != 1 || character == '=') break;
      size_t digit = std::string(kBase64, 64).find(character);
      if (digit == std::string::npos) continue;  // a line's end
      held_ = held_ << 6 | static_cast<uint32_t>(digit);
      bits_ += 6;
      if (bits_ >= 8) {
        bits_ -= 8;
        static_cast<uint8_t*>(data)[done++] = static_cast<uint8_t>(held_ >> bits_ & 255);
      }
    }
    return done;
  }

 private:
  Stream* in_;
  uint32_t held_ = 0;
  int bits_ = 0;
};

}  // namespace support
}  // namespace tvm
