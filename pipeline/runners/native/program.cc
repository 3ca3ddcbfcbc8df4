// A program with models in it: answers what `pipeline/runners/wire.py` describes. Linked with an archive of models and
// TVM's runtime for the machine it is to run on; its arguments are the prefix of the model and, where that is not the
// CPU, the device (opencl, metal), and the extensions of OpenCL that the kernels ask for.
#ifdef _WIN32
#include <fcntl.h>
#include <io.h>
#include <malloc.h>
#include <cstdlib>
// What TVM's headers take any compiler but Microsoft's to have; MinGW's malloc aligns to 16.
inline int posix_memalign(void** out, size_t alignment, size_t size) {
  return alignment <= 16 && (*out = std::malloc(size)) != nullptr ? 0 : 1;
}
#endif

#include <dlpack/dlpack.h>
#include <tvm/ffi/any.h>
#include <tvm/ffi/container/array.h>
#include <tvm/ffi/container/shape.h>
#include <tvm/ffi/container/tensor.h>
#include <tvm/ffi/dtype.h>
#include <tvm/ffi/error.h>
#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/function.h>
#include <tvm/ffi/string.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace ffi = tvm::ffi;

namespace {

constexpr size_t kAlignment = 64;

struct CpuAllocator {
  void AllocData(DLTensor* tensor) {
    size_t size = (ffi::GetDataSize(*tensor) + kAlignment) / kAlignment * kAlignment;
#ifdef _WIN32
    tensor->data = _aligned_malloc(size, kAlignment);
#else
    tensor->data = std::aligned_alloc(kAlignment, size);
#endif
    if (tensor->data == nullptr) throw std::bad_alloc();
  }
  void FreeData(DLTensor* tensor) {
#ifdef _WIN32
    _aligned_free(tensor->data);
#else
    std::free(tensor->data);
#endif
  }
};

// By the runtime's own function: virtual ones of a library that another compiler has made have other places.
ffi::Function Found(const ffi::Module& module, const std::string& name) {
  static const ffi::Function find = ffi::Function::GetGlobalRequired("ffi.ModuleGetFunction");
  auto found = find(module, ffi::String(name), false).cast<ffi::Optional<ffi::Function>>();
  if (!found.has_value()) throw std::runtime_error("there is no function " + name);
  return found.value();
}

ffi::Tensor Empty(const std::vector<int64_t>& shape, DLDataType dtype) {
  return ffi::Tensor::FromNDAlloc(CpuAllocator(), ffi::Shape(shape.begin(), shape.end()), dtype, DLDevice{kDLCPU, 0});
}

// The device. The host's code runs on the CPU all the same, so what comes in and what goes out is on the CPU.

DLDevice device{kDLCPU, 0};

ffi::Any Attribute(int kind) {
  return ffi::Function::GetGlobalRequired("runtime.GetDeviceAttr")(static_cast<int>(device.device_type), 0, kind);
}

ffi::Tensor Copied(const ffi::Tensor& from, DLDevice to) {
  if (from.device().device_type == to.device_type) return from;
  const std::vector<int64_t> shape(from.shape().begin(), from.shape().end());
  ffi::Tensor copy;
  if (to.device_type == kDLCPU) {
    copy = Empty(shape, from.dtype());
  } else {
    ffi::Function empty = ffi::Function::GetGlobalRequired("runtime.TVMTensorAllocWithScope");
    copy = empty(ffi::Shape(shape.begin(), shape.end()), from.dtype(), to, nullptr).cast<ffi::Tensor>();
  }
  ffi::Function::GetGlobalRequired("runtime.TVMTensorCopyFromTo")(from, copy);
  return copy;
}

void Wait() {
  if (device.device_type != kDLCPU) ffi::Function::GetGlobalRequired("runtime.Device_StreamSync")(device, 0);
}

// Standard input.

bool Line(std::istringstream* words) {
  std::string line;
  int character;
  while ((character = std::getchar()) != EOF && character != '\n') line.push_back(static_cast<char>(character));
  words->clear();
  words->str(line);
  return character != EOF;
}

void Bytes(void* data, size_t size) {
  if (std::fread(data, 1, size, stdin) != size) throw std::runtime_error("the input ended early");
}

std::string Text(size_t size) {
  std::string text(size, '\0');
  Bytes(text.data(), size);
  return text;
}

std::vector<int64_t> Extents(std::istringstream* words) {
  size_t rank = 0;
  *words >> rank;
  std::vector<int64_t> shape(rank);
  for (int64_t& extent : shape) *words >> extent;
  return shape;
}

std::vector<ffi::Any> held;

ffi::Any Value() {
  std::istringstream words;
  if (!Line(&words)) throw std::runtime_error("the input ended early");
  std::string kind;
  words >> kind;
  if (kind == "tensor") {
    std::string dtype;
    words >> dtype;
    ffi::Tensor tensor = Empty(Extents(&words), ffi::StringToDLDataType(dtype));
    Bytes(tensor.data_ptr(), ffi::GetDataSize(tensor));
    return Copied(tensor, device);
  }
  if (kind == "shape") {
    std::vector<int64_t> shape = Extents(&words);
    return ffi::Shape(shape.begin(), shape.end());
  }
  if (kind == "int") {
    int64_t number = 0;
    words >> number;
    return number;
  }
  if (kind == "float") {
    std::string number;
    words >> number;
    return std::strtod(number.c_str(), nullptr);
  }
  if (kind == "none") return nullptr;
  size_t count = 0;
  words >> count;
  if (kind == "text") return ffi::String(Text(count));
  if (kind == "held") return held.at(count);
  if (kind == "parameter") {
    return ffi::Function::GetGlobalRequired("vm.builtin.tensor_cache.get")(ffi::String(Text(count)));
  }
  if (kind == "array") {
    ffi::Array<ffi::Any> items;
    while (count-- > 0) items.push_back(Value());
    return items;
  }
  throw std::runtime_error(kind + " is no kind of value");
}

// Standard output.

void Say(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

void Answer(const ffi::Any& value) {
  if (value.type_index() == ffi::TypeIndex::kTVMFFINone) {  // first: it is a tensor without a value, too
    Say("none\n");
  } else if (auto found = value.as<ffi::Tensor>()) {
    const ffi::Tensor tensor = Copied(*found, DLDevice{kDLCPU, 0});
    const DLTensor* data = tensor.GetDLTensorPtr();
    std::ostringstream line;
    line << "tensor " << ffi::DLDataTypeToString(data->dtype) << ' ' << data->ndim;
    for (int i = 0; i < data->ndim; ++i) line << ' ' << data->shape[i];
    Say(line.str() + "\n");
    std::fwrite(static_cast<const char*>(data->data) + data->byte_offset, 1, ffi::GetDataSize(*data), stdout);
  } else if (auto shape = value.as<ffi::Shape>()) {
    std::ostringstream line;
    line << "shape " << shape->size();
    for (int64_t extent : *shape) line << ' ' << extent;
    Say(line.str() + "\n");
  } else if (auto items = value.as<ffi::Array<ffi::Any>>()) {
    Say("array " + std::to_string(items->size()) + "\n");
    for (const ffi::Any& item : *items) Answer(item);
  } else if (auto text = value.as<ffi::String>()) {
    Say("text " + std::to_string(text->size()) + "\n" + std::string(*text));
  } else if (value.type_index() == ffi::TypeIndex::kTVMFFIFloat) {
    char line[64];
    std::snprintf(line, sizeof(line), "float %.17g\n", value.cast<double>());
    Say(line);
  } else if (auto number = value.as<int64_t>()) {
    Say("int " + std::to_string(*number) + "\n");
  } else {
    held.push_back(value);
    Say("held " + std::to_string(held.size() - 1) + "\n");
  }
}

ffi::Any Run(const ffi::Module& model, const std::string& verb, const std::string& name,
             const std::vector<ffi::Any>& arguments) {
  if (verb == "parameters") {
    ffi::Function::GetGlobalRequired("vm.builtin.tensor_cache.clear")();
    ffi::Function::GetGlobalRequired("vm.builtin.tensor_cache.load")(arguments.at(0),
                                                                      static_cast<int>(device.device_type), 0);
    return nullptr;
  }
  ffi::Function function = verb == "call" ? Found(model, name) : ffi::Function::GetGlobalRequired(name);
  std::vector<ffi::AnyView> given(arguments.begin(), arguments.end());
  ffi::Any result;
  function.CallPacked(given.data(), static_cast<int>(given.size()), &result);
  return result;
}

void Serve(const ffi::Module& model) {
  std::istringstream words;
  while (Line(&words)) {
    std::string verb, name;
    size_t count = 0;
    words >> verb >> name >> count;
    std::string wrong;
    ffi::Any result;
    int64_t taken = 0;
    std::vector<ffi::Any> arguments;
    try {
      while (count-- > 0) arguments.push_back(Value());
      auto began = std::chrono::steady_clock::now();
      result = Run(model, verb, name, arguments);
      Wait();
      taken = std::chrono::nanoseconds(std::chrono::steady_clock::now() - began).count();
    } catch (const std::exception& error) {
      wrong = *error.what() ? error.what() : "an error without a text";
    }
    if (wrong.empty()) {
      Say("done " + std::to_string(taken) + "\n");
      Answer(result);
    } else {
      Say("failed " + std::to_string(wrong.size()) + "\n" + wrong);
    }
    std::fflush(stdout);
  }
}

// Whether the device is there and has what the kernels ask for; says what it lacks where it does not.
bool Fit(const std::string& name, const std::vector<std::string>& extensions) {
  constexpr int kExist = 0;
  constexpr int kLine = 400;
  device.device_type = name == "metal" ? kDLMetal : kDLOpenCL;
  std::string lacks;
  if (Attribute(kExist).cast<int>() == 0) lacks = "there is no device for " + name + "\ninstall a driver for " + name;
  for (const std::string& extension : extensions) {
    if (!lacks.empty()) break;
    ffi::Function has = ffi::Function::GetGlobalRequired("slipway.opencl.has");
    if (has(ffi::String(extension)).cast<bool>()) continue;
    lacks = "the OpenCL driver has no " + extension + "\ninstall an OpenCL driver with " + extension;
  }
  if (!lacks.empty()) Say("lacks " + std::to_string(lacks.substr(0, kLine).size()) + "\n" + lacks.substr(0, kLine));
  return lacks.empty();
}

}  // namespace

int main(int count, char** words) {
  if (count < 2) return 2;
#ifdef _WIN32
  _setmode(_fileno(stdin), _O_BINARY);
  _setmode(_fileno(stdout), _O_BINARY);
#endif
  try {
    constexpr int kDeviceName = 5;
    ffi::Module library = ffi::Function::GetGlobalRequired("ffi.SystemLib")(ffi::String(words[1])).cast<ffi::Module>();
    std::string said;
    if (count > 2) {
      if (!Fit(words[2], std::vector<std::string>(words + 3, words + count))) return 0;
      said = std::string(words[2]) + ", " + Attribute(kDeviceName).cast<std::string>();
    }
    ffi::Module model = Found(library, "vm_load_executable")().cast<ffi::Module>();
    ffi::Function initialize = Found(model, "vm_initialization");
    constexpr int kPooled = 2;
    if (device.device_type == kDLCPU) {
      initialize(static_cast<int>(kDLCPU), 0, kPooled);
    } else {
      initialize(static_cast<int>(device.device_type), 0, kPooled, static_cast<int>(kDLCPU), 0, kPooled);
    }
    Say("ready 1 " + std::to_string(said.size()) + "\n" + said);
    std::fflush(stdout);
    Serve(model);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  std::_Exit(0);  // without destructors: the runtime's order of them is nobody's business here
}
