// Files of text as samples of tokens: .jsonl, .txt, folders of .txt, and tables with a column of text.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/spec.h"

namespace halftone::data {

bool is_json_lines_file(const std::string& path);
bool is_conll_file(const std::string& path);  // .conll, .bio, .iob
bool is_txt_file(const std::string& path);

// RANGE counts the samples as the files have them, before they are put into size classes.
std::unique_ptr<Dataset> open_text(const Spec& spec, const OpenOptions& options);
bool is_text(const Dataset& set);  // that open_text made it
std::vector<std::string> text_splits(const std::string& path);

// Lengths that samples are padded to, ascending: at most kMostLengths multiples of 8 (the last is `most` where that is
// none), so chosen that the padding of all samples is least. No length has fewer than `least` samples, but where
// there is only one. lengths: of each sample, none above `most`.
inline constexpr size_t kMostLengths = 8;
std::vector<int64_t> padded_lengths(const std::vector<int64_t>& lengths, int64_t most, int64_t least);

// "MASK"
inline constexpr uint64_t kMaskStream = 0x4D41534B;

}  // namespace halftone::data
