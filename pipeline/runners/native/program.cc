// A program with models in it: answers what `pipeline/runners/wire.py` describes. Linked with an archive of models and
// TVM's runtime for the machine it is to run on; its argument is the prefix of the model.
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
    size_t size = ffi::GetDataSize(*tensor);
    tensor->data = std::aligned_alloc(kAlignment, (size + kAlignment) / kAlignment * kAlignment);
    if (tensor->data == nullptr) throw std::bad_alloc();
  }
  void FreeData(DLTensor* tensor) { std::free(tensor->data); }
};

ffi::Tensor Empty(const std::vector<int64_t>& shape, DLDataType dtype) {
  return ffi::Tensor::FromNDAlloc(CpuAllocator(), ffi::Shape(shape.begin(), shape.end()), dtype, DLDevice{kDLCPU, 0});
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
    return tensor;
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
  } else if (auto tensor = value.as<ffi::Tensor>()) {
    const DLTensor* data = tensor->GetDLTensorPtr();
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
    ffi::Function::GetGlobalRequired("vm.builtin.tensor_cache.load")(arguments.at(0), static_cast<int>(kDLCPU), 0);
    return nullptr;
  }
  ffi::Function function = verb == "call" ? model->GetFunction(name).value() : ffi::Function::GetGlobalRequired(name);
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

}  // namespace

int main(int count, char** words) {
  if (count != 2) return 2;
  try {
    ffi::Module library = ffi::Function::GetGlobalRequired("ffi.SystemLib")(ffi::String(words[1])).cast<ffi::Module>();
    ffi::Module model = library->GetFunction("vm_load_executable").value()().cast<ffi::Module>();
    model->GetFunction("vm_initialization").value()(static_cast<int>(kDLCPU), 0, 2);
    Say("ready 1 0\n");
    std::fflush(stdout);
    Serve(model);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  std::_Exit(0);  // without destructors: the runtime's order of them is nobody's business here
}
