// How values lie in a stream: numbers and enums as they are in memory (wasm and its compilers are little-endian),
// everything that has a length as that length in 64 bits and its elements, a pair as its two halves.
#pragma once

#include <dlpack/dlpack.h>
#include <tvm/ffi/container/array.h>
#include <tvm/ffi/container/map.h>
#include <tvm/ffi/endian.h>
#include <tvm/ffi/string.h>
#include <tvm/support/io.h>

#include <cstdint>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

namespace tvm {
namespace support {

template <typename T>
struct PlainSerializer {
  static constexpr bool enabled = true;
  static void Write(Stream* stream, const T& value) { stream->Write(static_cast<const void*>(&value), sizeof(T)); }
  static bool Read(Stream* stream, T* value) { return stream->Read(static_cast<void*>(value), sizeof(T)) == sizeof(T); }
};

template <typename T>
struct Serializer<T, std::enable_if_t<std::is_arithmetic_v<T> || std::is_enum_v<T>>> : PlainSerializer<T> {};
template <>
struct Serializer<DLDataType> : PlainSerializer<DLDataType> {};
template <>
struct Serializer<DLDevice> : PlainSerializer<DLDevice> {};

// A class that says itself how it is saved.
template <typename T>
struct Serializer<T, std::void_t<decltype(std::declval<const T&>().Save(static_cast<Stream*>(nullptr))),
                                 decltype(std::declval<T&>().Load(static_cast<Stream*>(nullptr)))>> {
  static constexpr bool enabled = true;
  static void Write(Stream* stream, const T& value) { value.Save(stream); }
  static bool Read(Stream* stream, T* value) { return value->Load(stream); }
};

inline void WriteLength(Stream* stream, size_t length) { stream->Write<uint64_t>(length); }
inline bool ReadLength(Stream* stream, size_t* length) {
  uint64_t read = 0;
  if (!stream->Read(&read)) return false;
  *length = static_cast<size_t>(read);
  return true;
}

template <>
struct Serializer<std::string> {
  static constexpr bool enabled = true;
  static void Write(Stream* stream, const std::string& text) {
    WriteLength(stream, text.size());
    stream->Write(static_cast<const void*>(text.data()), text.size());
  }
  static bool Read(Stream* stream, std::string* text) {
    size_t length = 0;
    if (!ReadLength(stream, &length)) return false;
    text->resize(length);
    return stream->Read(static_cast<void*>(text->data()), length) == length;
  }
};

template <>
struct Serializer<ffi::String> {
  static constexpr bool enabled = true;
  static void Write(Stream* stream, const ffi::String& text) { stream->Write(std::string(text)); }
  static bool Read(Stream* stream, ffi::String* text) {
    std::string read;
    if (!stream->Read(&read)) return false;
    *text = ffi::String(std::move(read));
    return true;
  }
};

template <typename A, typename B>
struct Serializer<std::pair<A, B>> {
  static constexpr bool enabled = true;
  static void Write(Stream* stream, const std::pair<A, B>& value) {
    stream->Write<A>(value.first);
    stream->Write<B>(value.second);
  }
  static bool Read(Stream* stream, std::pair<A, B>* value) {
    return stream->Read(&value->first) && stream->Read(&value->second);
  }
};

template <typename T>
struct Serializer<std::vector<T>> {
  static constexpr bool enabled = true;
  static void Write(Stream* stream, const std::vector<T>& values) {
    WriteLength(stream, values.size());
    stream->WriteArray(values.data(), values.size());
  }
  static bool Read(Stream* stream, std::vector<T>* values) {
    size_t length = 0;
    if (!ReadLength(stream, &length)) return false;
    values->resize(length);
    return stream->ReadArray(values->data(), length);
  }
};

template <typename T>
struct Serializer<ffi::Array<T>> {
  static constexpr bool enabled = true;
  static void Write(Stream* stream, const ffi::Array<T>& values) {
    WriteLength(stream, values.size());
    for (const T& value : values) stream->Write<T>(value);
  }
  static bool Read(Stream* stream, ffi::Array<T>* values) {
    std::vector<T> read;
    if (!stream->Read(&read)) return false;
    *values = ffi::Array<T>(read.begin(), read.end());
    return true;
  }
};

template <typename K, typename V>
struct Serializer<std::unordered_map<K, V>> {
  static constexpr bool enabled = true;
  static void Write(Stream* stream, const std::unordered_map<K, V>& values) {
    WriteLength(stream, values.size());
    for (const auto& [key, value] : values) {
      stream->Write<K>(key);
      stream->Write<V>(value);
    }
  }
  static bool Read(Stream* stream, std::unordered_map<K, V>* values) {
    size_t length = 0;
    if (!ReadLength(stream, &length)) return false;
    values->clear();
    while (length-- > 0) {
      std::pair<K, V> read;
      if (!stream->Read(&read)) return false;
      values->insert(std::move(read));
    }
    return true;
  }
};

// The objects of TVM have no state without a value, so a map is read one optional value at a time.
template <typename K, typename V>
struct Serializer<ffi::Map<K, V>> {
  static constexpr bool enabled = true;
  static void Write(Stream* stream, const ffi::Map<K, V>& values) {
    WriteLength(stream, values.size());
    for (const auto& entry : values) {
      stream->Write<K>(entry.first);
      stream->Write<V>(entry.second);
    }
  }
  static bool Read(Stream* stream, ffi::Map<K, V>* values) {
    size_t length = 0;
    if (!ReadLength(stream, &length)) return false;
    ffi::Map<K, V> read;
    while (length-- > 0) {
      K key;
      V value{ffi::UnsafeInit{}};
      if (!stream->Read(&key) || !stream->Read(&value)) return false;
      read.Set(key, value);
    }
    *values = std::move(read);
    return true;
  }
};

}  // namespace support
}  // namespace tvm
