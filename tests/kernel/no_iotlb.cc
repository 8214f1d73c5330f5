// SPDX-License-Identifier: Apache-2.0
//
// For LD_PRELOAD: a QEMU whose emulated SMMU remembers no translation. The CMDQV of level D is
// outside of QEMU, whose SMMU does not hear of the invalidations that a driver sends there; with an
// IOTLB its devices would go on with pages that are unmapped.
//
// QEMU keeps the IOTLB in a GHashTable, made right after that of its configurations
// (hw/arm/smmu-common.c, smmu_base_realize): here lookups in it find nothing.
#include <dlfcn.h>

#include <atomic>

namespace {

using NewFull = void*(void*, void*, void*, void*);
using Lookup = void*(void*, const void*);

std::atomic<void*> iotlb = nullptr;
thread_local bool after_configurations = false;

template <typename Function>
Function* Next(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

// The names and types are GLib's.
// NOLINTNEXTLINE(readability-identifier-naming)
void* g_hash_table_new_full(void* hash, void* equal, void* free_key, void* free_value) {
  void* const g_free = ::dlsym(RTLD_DEFAULT, "g_free");
  void* const table = Next<NewFull>("g_hash_table_new_full")(hash, equal, free_key, free_value);
  if (after_configurations && hash != nullptr && equal != nullptr && free_key == g_free &&
      free_value == g_free) {
    iotlb = table;
  }
  after_configurations =
      hash == nullptr && equal == nullptr && free_key == nullptr && free_value == g_free;
  return table;
}

// NOLINTNEXTLINE(readability-identifier-naming)
void* g_hash_table_lookup(void* table, const void* key) {
  static Lookup* const next = Next<Lookup>("g_hash_table_lookup");
  return table != nullptr && table == iotlb ? nullptr : next(table, key);
}

}  // extern "C"
