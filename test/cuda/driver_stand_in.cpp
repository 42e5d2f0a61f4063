// A CUDA driver, as far as cuDNN must find one before it makes plans for a GPU that is not there: it loads any code,
// and knows no device. A program that links it is given it in place of the machine's own.

extern "C" {

constexpr int kNoDevice = 100, kVersion = 13000;

int cuInit(unsigned) { return kNoDevice; }
int cuDriverGetVersion(int* version) {
  *version = kVersion;
  return 0;
}
int cuDeviceGetCount(int* count) {
  *count = 0;
  return 0;
}
int cuDeviceGet(int*, int) { return kNoDevice; }
int cuGetErrorName(int, const char** text) {
  *text = "error of the driver's stand-in";
  return 0;
}
int cuGetErrorString(int error, const char** text) { return cuGetErrorName(error, text); }

int cuLibraryLoadData(void** library, const void*) {
  static char loaded;
  *library = &loaded;
  return 0;
}
int cuLibraryGetKernel(void** kernel, void* library, const char*) {
  *kernel = library;
  return 0;
}
int cuKernelGetFunction(void** function, void* kernel) {
  *function = kernel;
  return 0;
}

// Looked up with these, and not called.
int cuCtxGetCurrent() { return kNoDevice; }
int cuCtxGetLimit() { return kNoDevice; }
int cuCtxPopCurrent() { return kNoDevice; }
int cuCtxPushCurrent() { return kNoDevice; }
int cuFuncGetAttribute() { return 0; }
int cuFuncSetAttribute() { return 0; }
int cuKernelGetAttribute() { return 0; }
int cuKernelSetAttribute() { return 0; }
int cuLaunchCooperativeKernel() { return kNoDevice; }
int cuLaunchKernel() { return kNoDevice; }
int cuLaunchKernelEx() { return kNoDevice; }
int cuLibraryGetGlobal() { return kNoDevice; }
int cuLibraryGetModule() { return kNoDevice; }
int cuLibraryLoadFromFile() { return kNoDevice; }
int cuLibraryUnload() { return 0; }
int cuLinkAddData() { return kNoDevice; }
int cuLinkComplete() { return kNoDevice; }
int cuLinkCreate() { return kNoDevice; }
int cuLinkDestroy() { return kNoDevice; }
int cuModuleGetFunction() { return kNoDevice; }
int cuModuleGetGlobal() { return kNoDevice; }
int cuModuleLoadData() { return kNoDevice; }
int cuModuleUnload() { return 0; }
int cuOccupancyMaxPotentialClusterSize() { return kNoDevice; }
int cuStreamGetCtx() { return kNoDevice; }
int cuTensorMapEncodeTiled() { return kNoDevice; }
}
