#include "halftone/tokenize.h"

#include <cstdio>
#include <iostream>
#include <memory>

#include "commands.h"

namespace cli {

Run add_tokenize(CLI::App& app) {
  struct State {
    halftone::TokenizeOptions options;
    bool no_special = false;
    bool null = false;
  };
  auto s = std::make_shared<State>();
  CLI::App* command =
      app.add_subcommand("tokenize", "lines of standard input to token ids, as a network's tokenizer says");
  command->add_option("TOKENIZER", s->options.tokenizer, "tokenizer.json or vocab.txt")
      ->required()
      ->type_name("FILE");
  command->add_flag(
      "--json", s->options.json,
      "a JSON object a line: ids, types, special tokens, words, spans in bytes, tokens, the text that "
      "they make again");
  command->add_flag("--pairs", s->options.pairs, "a line has two texts, with a tab between them");
  command->add_flag("--no-special", s->no_special, "without the tokens that the file puts around a text");
  command->add_option("--max-tokens", s->options.max_tokens, "at most so many tokens a text")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 30));
  command->add_flag("--null", s->null, "a zero byte ends a text, not a newline");
  return [s]() -> int {
    s->options.special = !s->no_special;
    if (s->null) s->options.delimiter = '\0';
    std::ios::sync_with_stdio(false);
    halftone::tokenize(s->options, std::cin,
                       [](std::string_view line) { std::fwrite(line.data(), 1, line.size(), stdout); });
    return 0;
  };
}

}  // namespace cli
