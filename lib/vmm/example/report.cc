// SPDX-License-Identifier: Apache-2.0
#include "lib/vmm/example/report.h"

#include <algorithm>
#include <cstdio>
#include <iomanip>
#include <sstream>

namespace berth::example {
namespace {

std::string Quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    char escaped[8];
    if (c == '"' || c == '\\') {
      out += {'\\', c};
    } else if (static_cast<unsigned char>(c) < 0x20) {
      std::snprintf(escaped, sizeof(escaped), "\\u%04x", static_cast<unsigned>(c));
      out += escaped;
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string Fixed(double value, int digits) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(digits) << value;
  return out.str();
}

std::string Micros(uint64_t nanoseconds) {
  return Fixed(static_cast<double>(nanoseconds) / 1000, 2);
}

std::string Hex(uint64_t value) {
  std::ostringstream out;
  out << "0x" << std::hex << value;
  return out.str();
}

double Rate(const PlayResult& play) {
  const double seconds = std::chrono::duration<double>(play.elapsed).count();
  return seconds > 0 ? static_cast<double>(play.commands) / seconds : 0;
}

template <typename Items, typename Print>
std::string Join(const Items& items, const char* separator, Print print) {
  std::string out;
  for (const auto& item : items) {
    if (!out.empty()) out += separator;
    out += print(item);
  }
  return out;
}

template <typename Items, typename Print>
std::string JsonList(const Items& items, Print print) {
  return "[" + Join(items, ",", print) + "]";
}

std::string JsonCounts(const Counts& counts) {
  return "{\"TLBI_NH_ASID\":" + std::to_string(counts.tlbi_nh_asid) +
         ",\"TLBI_NH_VA\":" + std::to_string(counts.tlbi_nh_va) +
         ",\"ATC_INV\":" + std::to_string(counts.atc_inv) +
         ",\"CMD_SYNC\":" + std::to_string(counts.cmd_sync) + "}";
}

std::string JsonUnit(const Report::UnitLine& unit) {
  return "{\"id\":" + Quoted(unit.id) + ",\"vcmdqs\":" + std::to_string(unit.vcmdqs) +
         ",\"sid_slots\":" + std::to_string(unit.sid_slots) +
         ",\"queue_log2\":" + std::to_string(unit.queue_log2) +
         ",\"executed\":" + JsonList(unit.executed, JsonCounts) + "}";
}

std::string JsonDevice(const Report::DeviceLine& device) {
  return "{\"address\":" + Quoted(device.address) + ",\"id\":" + Quoted(device.id) +
         ",\"unit\":" + std::to_string(device.unit) + ",\"vsid\":" + std::to_string(device.vsid) +
         ",\"stream\":" + (device.translated ? "\"TRANSLATE\"" : "\"BYPASS\"") + "}";
}

std::string JsonPlay(const Report& report) {
  const PlayResult& play = report.play;
  return "{\"traces\":" + JsonList(report.traces, Quoted) +
         ",\"commands\":" + std::to_string(play.commands) +
         ",\"doorbells\":" + std::to_string(play.doorbells) +
         ",\"full_waits\":" + std::to_string(play.full_waits) +
         ",\"seconds\":" + Fixed(std::chrono::duration<double>(play.elapsed).count(), 6) +
         ",\"commands_per_second\":" + Fixed(Rate(play), 0) +
         ",\"syncs\":" + std::to_string(play.sync_ns.size()) +
         ",\"sync_p50_us\":" + Micros(Percentile(play.sync_ns, 50)) +
         ",\"sync_p99_us\":" + Micros(Percentile(play.sync_ns, 99)) + "}";
}

const char* JsonBool(bool value) { return value ? "true" : "false"; }

class Lines {
 public:
  explicit Lines(std::ostream& out) : out_(out) {}
  std::ostream& Line(const char* label) {
    return out_ << std::left << std::setw(11) << label << std::right;
  }

 private:
  std::ostream& out_;
};

void PrintPlay(const Report& report, Lines* lines) {
  lines->Line("played") << Join(report.traces, ", ", [](const std::string& name) { return name; })
                        << ": " << report.play.commands << " commands, " << report.play.doorbells
                        << " doorbells, waited " << report.play.full_waits
                        << " times for a full ring\n";
  lines->Line("speed") << Fixed(Rate(report.play), 0) << " commands/s; CMD_SYNC p50 "
                       << Micros(Percentile(report.play.sync_ns, 50)) << " us, p99 "
                       << Micros(Percentile(report.play.sync_ns, 99)) << " us\n";
}

void PrintExecuted(const Counts& counts, Lines* lines) {
  lines->Line("executed") << "TLBI_NH_ASID " << counts.tlbi_nh_asid << ", TLBI_NH_VA "
                          << counts.tlbi_nh_va << ", ATC_INV " << counts.atc_inv << ", CMD_SYNC "
                          << counts.cmd_sync << ": every one\n";
}

}  // namespace

Counts Report::executed() const {
  Counts total;
  for (const UnitLine& unit : units) {
    for (const Counts& counts : unit.executed) total.Add(counts);
  }
  return total;
}

uint64_t Percentile(std::vector<uint64_t> samples, double percent) {
  if (samples.empty()) return 0;
  const auto rank = static_cast<size_t>(percent / 100 * static_cast<double>(samples.size() - 1));
  std::nth_element(samples.begin(), samples.begin() + static_cast<std::ptrdiff_t>(rank),
                   samples.end());
  return samples[rank];
}

void PrintForPeople(const Report& report, std::ostream& out) {
  Lines lines(out);
  if (report.session != 0) {
    lines.Line("attached") << "assignment " << report.assignment << ", session "
                           << Hex(report.session) << "\n";
  }
  if (report.memory_bytes != 0) {
    lines.Line("memory") << (report.memory_bytes >> 20) << " MiB at " << Hex(report.guest_address)
                         << ", pages of " << (report.page_bytes >> 10) << " KiB\n";
  }
  for (const Report::UnitLine& unit : report.units) {
    lines.Line("unit") << unit.id << ": page0 mapped (" << (unit.page0_length >> 10) << " KiB), "
                       << unit.executed.size() << " of " << unit.vcmdqs << " vCMDQs of "
                       << (1u << unit.queue_log2) << " commands, " << unit.sid_slots
                       << " SID slots\n";
  }
  for (const Report::DeviceLine& device : report.devices) {
    lines.Line("device") << device.address << " behind " << report.units[device.unit].id
                         << ": vSID " << Hex(device.vsid) << ", "
                         << (device.translated ? "translated" : "bypass") << "\n";
  }
  if (report.played && report.play.commands != 0) PrintPlay(report, &lines);
  if (report.recovered) {
    lines.Line("error") << "an illegal command stopped vCMDQ 0 of " << report.error_unit
                        << "; event after " << Micros(report.error_event_ns)
                        << " us; repaired, acknowledged, went on\n";
  }
  if (report.complete && report.play.commands != 0) PrintExecuted(report.executed(), &lines);
  if (report.trapped_commands != 0) {
    lines.Line("trapped") << report.trapped_commands << " commands executed by the agent\n";
  }
  if (report.reset) lines.Line("reset") << "queues freed, streams aborted, memory kept\n";
  if (report.detached) lines.Line("detached") << "everything given back\n";
}

void PrintJson(const Report& report, const Outcome& outcome, std::ostream& out) {
  out << "{\"assignment\":" << Quoted(report.assignment) << ",\"session\":" << report.session
      << ",\"isolation\":" << report.isolation << ",\"memory\":{\"bytes\":" << report.memory_bytes
      << ",\"page_bytes\":" << report.page_bytes << ",\"guest_address\":" << report.guest_address
      << "},\"units\":" << JsonList(report.units, JsonUnit)
      << ",\"devices\":" << JsonList(report.devices, JsonDevice) << ",\"play\":" << JsonPlay(report)
      << ",\"executed\":" << JsonCounts(report.executed())
      << ",\"recovery\":{\"recovered\":" << JsonBool(report.recovered)
      << ",\"event_us\":" << Micros(report.error_event_ns)
      << "},\"trapped_commands\":" << report.trapped_commands
      << ",\"reset\":" << JsonBool(report.reset) << ",\"detached\":" << JsonBool(report.detached);
  if (!outcome.ok()) {
    out << ",\"error\":" << Quoted(outcome.message)
        << ",\"exit_code\":" << static_cast<int>(outcome.code);
  }
  out << "}\n";
}

void PrintAttachJson(const std::vector<uint64_t>& samples_ns, std::ostream& out) {
  out << "{\"samples_us\":" << JsonList(samples_ns, Micros)
      << ",\"p50_us\":" << Micros(Percentile(samples_ns, 50))
      << ",\"p99_us\":" << Micros(Percentile(samples_ns, 99)) << "}\n";
}

void PrintContinuityJson(const Continuity& result, std::ostream& out) {
  out << "{\"batches\":" << result.batches_ns.size() << ",\"calls\":" << result.calls
      << ",\"tlbi_nh_asid\":" << result.submitted.tlbi_nh_asid
      << ",\"cmd_sync\":" << result.submitted.cmd_sync
      << ",\"p50_us\":" << Micros(Percentile(result.batches_ns, 50))
      << ",\"p999_us\":" << Micros(Percentile(result.batches_ns, 99.9))
      << ",\"max_us\":" << Micros(Percentile(result.batches_ns, 100)) << "}\n";
}

}  // namespace berth::example
