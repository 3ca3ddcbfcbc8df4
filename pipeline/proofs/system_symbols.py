"""C symbols that every supported system offers to a model, beside the TVM runtime.

Compiled models call mathematics, memory functions, and helpers that the compiler itself invents. The lists are short
on purpose: a symbol that is not here and not in the runtime is worth a human's look before an app's link fails.
Called by `closure`.

Sources: C99 §7.12 (mathematics) and §7.21 (strings); LLVM's runtime library calls (`RuntimeLibcalls.def`) as
implemented by compiler-rt and libgcc; Arm's Run-time ABI (IHI 0043) for `__aeabi_`; Apple's libSystem exports. All are
C names, without Mach-O's underscore.
"""

from __future__ import annotations

from typing import Literal

from pipeline.platforms import APPLE


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_MATHEMATICS = _names(
    "acos acosh asin asinh atan atan2 atanh cbrt ceil copysign cos cosh erf erfc exp exp2 expm1 fabs fdim floor fma "
    "fmax fmin fmod frexp hypot ldexp lgamma llrint llround log log10 log1p log2 logb lrint lround modf nan nearbyint "
    "nextafter pow remainder rint round scalbn sin sinh sqrt tan tanh tgamma trunc"
)
"""C99; each also with the suffix `f` for float."""

_MEMORY = _names(
    "memcpy memmove memset memcmp memchr strlen strcmp strncmp malloc calloc realloc free abort posix_memalign"
)

_COMPILER = _names(
    # float16 and bfloat16 <-> wider (models bring their own weak copies of the first two)
    "__extendhfsf2 __truncsfhf2 __extendhfdf2 __truncdfhf2 __truncsfbf2 __truncdfbf2 __gnu_h2f_ieee __gnu_f2h_ieee "
    # 128-bit integers
    "__multi3 __divti3 __modti3 __udivti3 __umodti3 __ashlti3 __ashrti3 __lshrti3 __muloti4 "
    "__fixsfti __fixdfti __fixunssfti __fixunsdfti __floattisf __floattidf __floatuntisf __floatuntidf"
)
"""compiler-rt or libgcc: linked into every program by the compiler driver, on every system."""

_APPLE = _names(
    "dyld_stub_binder bzero __bzero memset_pattern4 memset_pattern8 memset_pattern16 "
    "__sincos_stret __sincosf_stret __exp10 __exp10f __stack_chk_fail __stack_chk_guard __cxa_atexit"
)
"""libSystem's own; LLVM calls them where the target is Apple's."""

_ELF = _names("__cxa_atexit __cxa_finalize __stack_chk_fail __tls_get_addr sincos sincosf")
"""libc and libm of glibc and of Android alike."""

_ARM = frozenset(
    f"__aeabi_{name}"
    for name in _names(
        "unwind_cpp_pr0 unwind_cpp_pr1 unwind_cpp_pr2 read_tp "
        "memcpy memcpy4 memcpy8 memmove memmove4 memmove8 memset memset4 memset8 memclr memclr4 memclr8 "
        "idiv idivmod uidiv uidivmod ldivmod uldivmod lcmp ulcmp llsl llsr lasr lmul "
        "f2h h2f d2h f2lz f2ulz d2lz d2ulz l2f ul2f l2d ul2d"
    )
)
"""Of 32-bit ARM: helpers of the compiler and of its unwinder, which its driver links into every program."""

_GLIBC = _names("exp10 exp10f __stack_chk_guard")
"""Not in Android's libm."""

_WINDOWS = _names("_fltused __chkstk")
"""The C runtime's: a mark that floating point is used, and the helper that touches the pages of a large stack frame."""

LINKER_SYMBOLS = _names(
    "_GLOBAL_OFFSET_TABLE_ __dso_handle __memory_base __table_base __stack_pointer __indirect_function_table "
    "__ImageBase"
)
"""Names that linkers make up themselves: nobody has to offer them."""


UNWINDERS = frozenset(name for name in _ARM if "unwind" in name)
"""Of 32-bit ARM: named so that whoever throws C++ exceptions links them. Compiled models throw none."""


def library_of(name: str, platform: str) -> Literal["c", "m", "compiler"] | None:
    """Which library of an ELF system, Linux or Android, has a C name; None for one that no system offers."""
    if name not in system_symbols(platform):
        return None
    if name in _COMPILER or (name in _ARM and not name.startswith("__aeabi_mem")):
        return "compiler"
    mathematics = {*_MATHEMATICS, *(f"{one}f" for one in _MATHEMATICS), "sincos", "sincosf", "exp10", "exp10f"}
    return "m" if name in mathematics else "c"


def system_symbols(platform: str) -> frozenset[str]:
    """C names offered by a system and its compiler's helper library."""
    names = {*_MATHEMATICS, *(f"{name}f" for name in _MATHEMATICS), *_MEMORY}
    if platform == "windows":  # whose compiler has no library of helpers as the others have
        return frozenset(names - {"posix_memalign"} | _WINDOWS)
    names.update(_COMPILER)
    if platform in APPLE:
        names.update(_APPLE)
    elif platform == "wasm":
        names.add("__cxa_atexit")
    else:
        names.update(_ELF, _ARM)
        if platform == "linux":
            names.update(_GLIBC)
    return frozenset(names)
