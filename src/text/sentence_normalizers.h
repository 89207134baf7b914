// Normalizers that tokenizers of SentencePiece's kind have.
#pragma once

#include <memory>

#include "text/charsmap.h"
#include "text/normalizer.h"

namespace halftone::text {

std::unique_ptr<Normalizer> read_precompiled(JsonObject& at);
std::unique_ptr<Normalizer> read_replace(JsonObject& at);
std::unique_ptr<Normalizer> read_prepend(JsonObject& at);
std::unique_ptr<Normalizer> make_nmt();
std::unique_ptr<Normalizer> make_byte_level_normalizer();

}  // namespace halftone::text
