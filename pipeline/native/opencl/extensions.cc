// Compiled together with the OpenCL runtime of a checkout of TVM: says what the device that TVM chose can do.
#include <tvm/ffi/reflection/registry.h>

#include <string>

#include "src/backend/opencl/runtime/opencl_common.h"

namespace tvm::runtime::cl {
TVM_FFI_STATIC_INIT_BLOCK() {
  ffi::reflection::GlobalDef().def("slipway.opencl.has", [](const std::string& extension) {
    OpenCLWorkspace* workspace = OpenCLWorkspace::Global();
    workspace->Init();
    return !workspace->devices.empty() && workspace->IsOpenCLExtensionSupported(workspace->devices[0], extension);
  });
}
}  // namespace tvm::runtime::cl
