#include "faults/crash_disk.h"

#include <fcntl.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <stdexcept>

namespace halftone::faults {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kSector = 512;

std::string parent_of(const std::string& path) {
  return fs::path(path).parent_path().string();
}

}  // namespace

const std::string* Tree::find(const std::string& path) const {
  const auto it = files.find(path);
  return it == files.end() ? nullptr : &contents.at(it->second);
}

void Tree::write_to(const std::string& folder) const {
  for (const std::string& name : folders) fs::create_directories(folder + "/" + name);
  std::map<int, std::string> first;
  for (const auto& [path, number] : files) {
    const std::string full = folder + "/" + path;
    const auto [it, is_first] = first.emplace(number, full);
    if (is_first) {
      std::ofstream(full, std::ios::binary) << contents.at(number);
    } else {
      fs::create_hard_link(it->second, full);
    }
  }
}

CrashDisk::CrashDisk(std::string base, const Tree& before, const std::vector<RecordedCall>& calls)
    : base_(std::move(base)), calls_(calls.size()) {
  nodes_.push_back({.is_folder = true, .before = {}, .changes = {}, .syncs = {}});
  names_[""] = 0;
  for (const std::string& folder : before.folders) {
    names_[folder] = static_cast<int>(nodes_.size());
    nodes_.push_back({.is_folder = true, .before = {}, .changes = {}, .syncs = {}});
  }
  std::map<int, int> numbers;
  for (const auto& [path, number] : before.files) {
    const auto [it, is_new] = numbers.emplace(number, static_cast<int>(nodes_.size()));
    names_[path] = it->second;
    const std::string& bytes = before.contents.at(number);
    if (is_new) nodes_.push_back({.is_folder = false, .before = bytes, .changes = {}, .syncs = {}});
  }
  names_before_ = names_;
  for (size_t at = 0; at < calls.size(); ++at) add(calls[at], at);
}

int CrashDisk::node_of(const std::string& path) const {
  const auto it = names_.find(path);
  return it == names_.end() ? -1 : it->second;
}

int CrashDisk::folder_of(const std::string& path) const {
  const int folder = node_of(parent_of(path));
  if (folder < 0) throw std::logic_error("nobody made the folder of " + path);
  return folder;
}

void CrashDisk::change_entry(size_t at, const std::string& appears, int node, const std::string& goes) {
  if (!appears.empty() && !goes.empty() && parent_of(appears) != parent_of(goes)) {
    // Each folder's change may reach the disk without the other's.
    change_entry(at, appears, node, "");
    change_entry(at, "", -1, goes);
    return;
  }
  entries_.push_back({at, folder_of(appears.empty() ? goes : appears), appears, node, goes});
  if (!goes.empty()) names_.erase(goes);
  if (!appears.empty()) names_[appears] = node;
}

void CrashDisk::add(const RecordedCall& call, size_t at) {
  const auto inside = [&](const std::string& path) { return path == base_ || path.starts_with(base_ + "/"); };
  const auto relative = [&](const std::string& path) {
    const std::string normal = fs::path(path).lexically_normal().string();
    return normal.size() <= base_.size() ? std::string() : normal.substr(base_.size() + 1);
  };
  const auto make = [&](bool is_folder) {
    nodes_.push_back({.is_folder = is_folder, .before = {}, .changes = {}, .syncs = {}});
    return static_cast<int>(nodes_.size()) - 1;
  };
  const auto opened = [&](int fd) {
    const auto it = open_.find(fd);
    return it == open_.end() ? -1 : it->second;
  };
  const auto change = [&](int node, bool is_size, int64_t offset, const std::string& bytes) {
    if (node >= 0) nodes_[static_cast<size_t>(node)].changes.push_back({at, is_size, offset, bytes});
  };
  switch (call.op) {
    case Op::kOpen: {
      int& node = open_[call.fd] = -1;
      if (!inside(call.first)) return;
      const std::string path = relative(call.first);
      node = node_of(path);
      if (node < 0 && (call.number & O_CREAT) != 0) {
        node = make(false);
        change_entry(at, path, node, "");
      } else if ((call.number & O_TRUNC) != 0) {
        change(node, true, 0, "");
      }
      return;
    }
    case Op::kWrite:
      return change(opened(call.fd), false, call.number, call.first);
    case Op::kTruncate:
      return change(opened(call.fd), true, call.number, "");
    case Op::kSync:
      if (opened(call.fd) >= 0) nodes_[static_cast<size_t>(opened(call.fd))].syncs.push_back(at);
      return;
    case Op::kRename:
    case Op::kLink:
      if (!inside(call.first) || !inside(call.second)) return;
      if (node_of(relative(call.first)) == node_of(relative(call.second))) return;  // which does nothing
      change_entry(at, relative(call.second), node_of(relative(call.first)),
                   call.op == Op::kRename ? relative(call.first) : "");
      return;
    case Op::kMakeFolder:
      if (inside(call.first)) change_entry(at, relative(call.first), make(true), "");
      return;
    case Op::kUnlink:
    case Op::kRemoveFolder:
      if (inside(call.first)) change_entry(at, "", -1, relative(call.first));
      return;
  }
}

bool CrashDisk::is_durable(int node, size_t at, size_t count) const {
  const std::vector<size_t>& syncs = nodes_[static_cast<size_t>(node)].syncs;
  return std::any_of(syncs.begin(), syncs.end(), [&](size_t sync) { return sync > at && sync < count; });
}

int64_t CrashDisk::pending(int node, size_t count) const {
  const std::vector<Change>& changes = nodes_[static_cast<size_t>(node)].changes;
  return std::count_if(changes.begin(), changes.end(),
                       [&](const Change& c) { return c.at < count && !is_durable(node, c.at, count); });
}

std::string CrashDisk::content(const Node& node, size_t count, int64_t changes) const {
  std::string bytes = node.before;
  const auto number = static_cast<int>(&node - nodes_.data());
  for (const Change& c : node.changes) {
    if (c.at >= count) break;
    if (!is_durable(number, c.at, count) && changes-- <= 0) break;
    if (c.is_size) {
      bytes.resize(static_cast<size_t>(c.offset), '\0');
    } else {
      const size_t end = static_cast<size_t>(c.offset) + c.bytes.size();
      if (bytes.size() < end) bytes.resize(end, '\0');
      bytes.replace(static_cast<size_t>(c.offset), c.bytes.size(), c.bytes);
    }
  }
  return bytes;
}

Tree CrashDisk::build(size_t count, const std::vector<bool>& done,
                      const std::map<int, std::string>& contents) const {
  // Names in their folders first: what lies in a folder that is not there is not there either.
  std::map<std::string, int> names = names_before_;
  for (size_t i = 0; i < entries_.size() && entries_[i].at < count; ++i) {
    if (!done[i]) continue;
    if (!entries_[i].goes.empty()) names.erase(entries_[i].goes);
    if (!entries_[i].appears.empty()) names[entries_[i].appears] = entries_[i].node;
  }
  Tree tree;
  for (const auto& [path, node] : names) {  // a folder comes before what lies in it
    if (path.empty()) continue;
    const std::string parent = parent_of(path);
    if (!parent.empty() && std::count(tree.folders.begin(), tree.folders.end(), parent) == 0) continue;
    if (nodes_[static_cast<size_t>(node)].is_folder) {
      tree.folders.push_back(path);
    } else {
      tree.files[path] = node;
      tree.contents[node] = contents.at(node);
    }
  }
  return tree;
}

Tree CrashDisk::uniform(size_t count, bool all) const {
  std::vector<bool> done;
  for (const Entry& e : entries_) done.push_back(all || is_durable(e.folder, e.at, count));
  std::map<int, std::string> contents;
  for (const Node& node : nodes_) {
    const auto number = static_cast<int>(&node - nodes_.data());
    contents[number] = content(node, count, all ? pending(number, count) : 0);
  }
  return build(count, done, contents);
}

Tree CrashDisk::least(size_t count) const {
  return uniform(count, false);
}
Tree CrashDisk::most(size_t count) const {
  return uniform(count, true);
}

Tree CrashDisk::random(size_t count, std::mt19937_64& random) const {
  const auto below = [&](int64_t n) { return static_cast<int64_t>(random() % static_cast<uint64_t>(n)); };
  const auto choose = [&] { return static_cast<Choice>(below(4)); };
  std::vector<bool> done;
  const Choice names = choose();
  const size_t until = count > 0 ? static_cast<size_t>(below(static_cast<int64_t>(count))) : 0;
  for (const Entry& e : entries_) {
    const bool happens = names == Choice::kAll || (names == Choice::kPrefix && e.at < until) ||
                         (names == Choice::kAny && below(2) == 0);
    done.push_back(happens || is_durable(e.folder, e.at, count));
  }
  std::map<int, std::string> contents;
  for (const Node& node : nodes_) {
    const auto number = static_cast<int>(&node - nodes_.data());
    const int64_t most = pending(number, count);
    const Choice bytes = choose();
    if (bytes != Choice::kAny || most == 0) {
      contents[number] = content(node, count,
                                 bytes == Choice::kNone  ? 0
                                 : bytes == Choice::kAll ? most
                                                         : below(most + 1));
      continue;
    }
    // Each sector, and the size, from a moment of its own.
    std::string mixed(content(node, count, below(most + 1)).size(), '\0');
    for (size_t at = 0; at < mixed.size(); at += kSector) {
      const std::string then = content(node, count, below(most + 1));
      if (at < then.size()) {
        const size_t bytes_there =
            std::min({static_cast<size_t>(kSector), then.size() - at, mixed.size() - at});
        mixed.replace(at, bytes_there, then, at, bytes_there);
      }
    }
    contents[number] = mixed;
  }
  return build(count, done, contents);
}

}  // namespace halftone::faults
