#include "api/yaml_values.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace halftone::api {
namespace {

using Texts = std::vector<std::string>;

TEST(YamlValues, AreThoseThatARunRecords) {
  EXPECT_EQ(yaml_values("~", "f"), Texts{});
  EXPECT_EQ(yaml_values("", "f"), Texts{});
  EXPECT_EQ(yaml_values("body", "f"), Texts{"body"});
  EXPECT_EQ(yaml_values("a b, c", "f"), Texts{"a b, c"});
  EXPECT_EQ(yaml_values("\"a \\\"b\\\" \\x41\\u00e4\\n\"", "f"), Texts{"a \"b\" A\xC3\xA4\n"});
  EXPECT_EQ(yaml_values("'it''s'", "f"), Texts{"it's"});
  EXPECT_EQ(yaml_values("[0.485, 0.456]", "f"), (Texts{"0.485", "0.456"}));
  EXPECT_EQ(yaml_values("[\"x=a, b\", y]", "f"), (Texts{"x=a, b", "y"}));
}

TEST(YamlValues, RefuseWhatIsNone) {
  for (const char* text : {"[a, b", "\"open", "\"a\" b", "\"\\q\"", "\"\\u12\"", "'open", "[,]"})
    EXPECT_THROW(yaml_values(text, "f"), Error) << text;
}

}  // namespace
}  // namespace halftone::api
