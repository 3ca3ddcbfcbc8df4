"""Native projects that others wrote, built as they are: their sources, CMake's and emscripten's command lines.

The steps `runtime` and `wasm_runtime` build with it; `tools.finder` asks it what a checkout is.
"""
