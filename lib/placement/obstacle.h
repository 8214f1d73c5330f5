// SPDX-License-Identifier: Apache-2.0
//
// What keeps a request off a host.
#ifndef BERTH_LIB_PLACEMENT_OBSTACLE_H_
#define BERTH_LIB_PLACEMENT_OBSTACLE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

// X(enumerator, name, what one host "has"/"is", what several "have"/"are", what the host lacks).
// $0 is the class asked for. In the order in which they are looked for: who fails later is nearer.
#define BERTH_PLACEMENT_OBSTACLES(X)                                                               \
  X(kDefect, "bad_inventory", "has an inventory that contradicts itself",                          \
    "have an inventory that contradicts itself", "a valid inventory")                              \
  X(kNotReady, "not_ready", "is not ready", "are not ready", "a healthy agent")                    \
  X(kCordoned, "cordoned", "is cordoned", "are cordoned", "permission to take new assignments")    \
  X(kClass, "class", "has no device of class $0", "have no device of class $0",                    \
    "a device of class $0")                                                                        \
  X(kCount, "count", "has too few devices of class $0", "have too few devices of class $0",        \
    "enough devices of class $0")                                                                  \
  X(kAssignable, "assignable", "has too few assignable devices of class $0",                       \
    "have too few assignable devices of class $0", "enough assignable devices of class $0")        \
  X(kInUse, "devices_in_use", "has too few free devices of class $0",                              \
    "have too few free devices of class $0", "enough free devices of class $0")                    \
  X(kIommuGroup, "iommu_group", "has no whole free IOMMU group for a $0",                          \
    "have no whole free IOMMU group for a $0", "a whole free IOMMU group with a $0")               \
  X(kVintfs, "vintfs", "has no free VINTF on the unit of a free $0",                               \
    "have no free VINTF on the unit of a free $0", "a free VINTF on the unit of a free $0")        \
  X(kAttributes, "attributes", "has too few free $0 devices that meet the requirements",           \
    "have too few free $0 devices that meet the requirements",                                     \
    "enough free $0 devices that meet the requirements")                                           \
  X(kQueues, "vcmdqs", "has too few free $0 devices behind units with the vCMDQs",                 \
    "have too few free $0 devices behind units with the vCMDQs",                                   \
    "enough free $0 devices behind units with the vCMDQs")                                         \
  X(kExcluded, "excluded", "is excluded", "are excluded", "a clean record with this assignment")   \
  X(kSelector, "host_selector", "does not match the host selector",                                \
    "do not match the host selector", "the labels of the host selector")                           \
  X(kTaint, "taints", "has a taint that is not tolerated", "have a taint that is not tolerated",   \
    "a toleration of its taint")                                                                   \
  X(kAntiAffinity, "anti_affinity", "is too near to another of an anti-affinity group",            \
    "are too near to another of an anti-affinity group",                                           \
    "distance to the others of an anti-affinity group")                                            \
  X(kGang, "gang", "cannot go with where the rest of the gang is",                                 \
    "cannot go with where the rest of the gang is", "a place beside the rest of the gang")         \
  X(kHugePages, "huge_pages", "has too few free huge pages", "have too few free huge pages",       \
    "enough free huge pages")                                                                      \
  X(kCompetition, "competition", "has too few devices for all requests together",                  \
    "have too few devices for all requests together", "enough devices for all requests together")  \
  X(kSidSlots, "sid_slots", "has too few SID slots in a VINTF",                                    \
    "have too few SID slots in a VINTF", "enough SID slots in a VINTF")                            \
  X(kSameUnit, "same_unit", "has no unit with all the devices",                                    \
    "have no unit with all the devices", "a unit with all the devices")                            \
  X(kSameNumaNode, "same_numa_node", "has no NUMA node with all the devices",                      \
    "have no NUMA node with all the devices", "a NUMA node with all the devices")                  \
  X(kSameAttribute, "same_attribute", "has too few devices with an equal attribute",               \
    "have too few devices with an equal attribute", "enough devices with an equal attribute")      \
  X(kDistinctUnits, "distinct_units", "has too few units for devices on distinct units",           \
    "have too few units for devices on distinct units",                                            \
    "enough units for devices on distinct units")                                                  \
  X(kSearchBudget, "search_budget", "was not searched to the end", "were not searched to the end", \
    "a search to the end")

namespace berth::placement {

enum class Obstacle : uint8_t {
#define BERTH_OBSTACLE_ENUM(enumerator, ...) enumerator,
  BERTH_PLACEMENT_OBSTACLES(BERTH_OBSTACLE_ENUM)
#undef BERTH_OBSTACLE_ENUM
};

inline constexpr size_t kObstacles = static_cast<size_t>(Obstacle::kSearchBudget) + 1;

// Stable, e.g. "vintfs": for metadata and the API.
std::string_view ObstacleName(Obstacle obstacle);
// "have no device of class gpu": a predicate for so many hosts.
std::string ObstacleText(Obstacle obstacle, uint64_t hosts, const std::string& device_class);
// "a device of class gpu": what such a host lacks.
std::string ObstacleLack(Obstacle obstacle, const std::string& device_class);

}  // namespace berth::placement

#endif  // BERTH_LIB_PLACEMENT_OBSTACLE_H_
