// SPDX-License-Identifier: Apache-2.0
#include "lib/vmm/example/trace.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>

namespace berth::example {
namespace {

constexpr uint32_t kMaxLog2size = 19;
constexpr uint64_t kSidMask = 0xffffffff00000000;

using Row = std::map<std::string, std::string>;

Outcome BadTrace(const std::string& path, const std::string& what) {
  return {ExitCode::kUsage, path + ": " + what};
}

std::vector<std::string> Split(const std::string& line) {
  std::vector<std::string> fields;
  std::istringstream stream(line);
  for (std::string field; std::getline(stream, field, '\t');) fields.push_back(field);
  return fields;
}

Outcome ReadIndex(const std::string& directory, std::vector<Row>* rows) {
  const std::string path = directory + "/index.tsv";
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return BadTrace(path, "no traces there");
  const std::vector<std::string> columns = Split(line);
  if (std::find(columns.begin(), columns.end(), "name") == columns.end()) {
    return BadTrace(path, "there is no column 'name'");
  }
  while (std::getline(file, line)) {
    const std::vector<std::string> fields = Split(line);
    if (fields.size() != columns.size()) return BadTrace(path, "a line has another width");
    Row& row = rows->emplace_back();
    for (size_t i = 0; i < fields.size(); ++i) row[columns[i]] = fields[i];
  }
  return {};
}

bool ReadNumber(const Row& row, const char* column, uint32_t* value) {
  const auto found = row.find(column);
  if (found == row.end()) return false;
  std::istringstream stream(found->second);
  return static_cast<bool>(stream >> *value);
}

// All of a file of little-endian Ts; this host is little-endian too, or the ring would not be.
template <typename T>
Outcome ReadAll(const std::string& path, std::vector<T>* out) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  if (bytes.empty() || bytes.size() % sizeof(T) != 0) return BadTrace(path, "missing or cut");
  out->resize(bytes.size() / sizeof(T));
  std::memcpy(out->data(), bytes.data(), bytes.size());
  return {};
}

Outcome LoadStream(const std::string& directory, const Row& row, Stream* stream) {
  uint32_t log2size = 0;
  uint32_t prod = 0;
  if (!ReadNumber(row, "queue", &stream->queue) || !ReadNumber(row, "log2size", &log2size) ||
      !ReadNumber(row, "first_prod", &prod) || log2size == 0 || log2size > kMaxLog2size) {
    return BadTrace(directory + "/index.tsv", "a line has no queue, log2size or first_prod");
  }
  const std::string base = directory + "/" + row.at("name") + ".q" + std::to_string(stream->queue);
  BERTH_EXAMPLE_TRY(ReadAll(base + ".cmds", &stream->commands));
  std::vector<uint32_t> doorbells;
  BERTH_EXAMPLE_TRY(ReadAll(base + ".doorbells", &doorbells));
  size_t total = 0;
  for (const uint32_t doorbell : doorbells) {
    const uint32_t count = (doorbell - prod) & ((2u << log2size) - 1);
    stream->batches.push_back(count);
    total += count;
    prod = doorbell;
  }
  if (total != stream->commands.size()) {
    return BadTrace(base, "the doorbells do not publish exactly the commands");
  }
  return {};
}

}  // namespace

Outcome ListTraces(const std::string& directory, std::vector<std::string>* names) {
  std::vector<Row> rows;
  BERTH_EXAMPLE_TRY(ReadIndex(directory, &rows));
  for (const Row& row : rows) {
    const std::string& name = row.at("name");
    if (std::find(names->begin(), names->end(), name) == names->end()) names->push_back(name);
  }
  return {};
}

Outcome LoadTrace(const std::string& directory, const std::string& name, Trace* trace) {
  std::vector<Row> rows;
  BERTH_EXAMPLE_TRY(ReadIndex(directory, &rows));
  trace->name = name;
  for (const Row& row : rows) {
    if (row.at("name") != name) continue;
    BERTH_EXAMPLE_TRY(LoadStream(directory, row, &trace->streams.emplace_back()));
  }
  if (trace->streams.empty()) return BadTrace(directory, "no trace is named " + name);
  return {};
}

Stream WithVsids(const Stream& stream, const std::vector<uint32_t>& vsids) {
  Stream out = stream;
  std::map<uint64_t, uint64_t> replacements;
  for (Command& command : out.commands) {
    if (OpcodeOf(command) != Opcode::kAtcInv || vsids.empty()) continue;
    const uint64_t next = vsids[replacements.size() % vsids.size()];
    const uint64_t sid = replacements.emplace(command[0] >> 32, next).first->second;
    command[0] = (command[0] & ~kSidMask) | (sid << 32);
  }
  return out;
}

}  // namespace berth::example
