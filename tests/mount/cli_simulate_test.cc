// `cachefs simulate` as a command: what it prints, draws and refuses.
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "mount/cli_fixture.h"

namespace cachefs::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

class CliSimulate : public CliTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    trace_ = place("accesses.txt");
    std::ofstream(trace_) << "1 a 1\n2 b 1\n3 a 1\n4 c 1\n5 a 1\n6 b 1\n";
  }
  void expect_refused(std::vector<std::string> arguments, int exit_code, const std::string& sentence) {
    arguments.insert(arguments.begin(), "simulate");
    const Finished run = cachefs(arguments);
    EXPECT_EQ(run.exit_code, exit_code);
    EXPECT_EQ(run.errors, "cachefs: " + sentence + "\n");
    EXPECT_EQ(run.output, "");
  }
  static std::string text_of(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }
  [[nodiscard]] std::string place(const std::string& name) const { return folder_ / name; }

  std::string trace_;
};

TEST_F(CliSimulate, TellsWhatWouldMiss) {
  const Finished run = cachefs({"simulate", trace_, "--policy", "lru,belady", "--size", "2"});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_EQ(run.errors, "") << "it takes no time, so nothing is told of it";
  EXPECT_THAT(run.output, AllOf(HasSubstr("6 requests, 3 objects"), HasSubstr("lru"), HasSubstr("0.6667")));
}

TEST_F(CliSimulate, TellsInJson) {
  const Finished run = cachefs({"simulate", "--json", trace_, "--policy", "lru", "--size", "2,3"});
  const nlohmann::json rows = nlohmann::json::parse(run.output, nullptr, false);
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].at("policy"), "lru");
  EXPECT_EQ(rows[0].at("size"), 2);
  EXPECT_EQ(rows[0].at("requests"), 6);
  EXPECT_EQ(rows[0].at("misses"), 4);
  EXPECT_DOUBLE_EQ(rows[0].at("miss_ratio"), 4.0 / 6);
  EXPECT_DOUBLE_EQ(rows[0].at("byte_miss_ratio"), 4.0 / 6);
  EXPECT_EQ(rows[0].at("trace"), "accesses.txt");
  EXPECT_EQ(rows[0].size(), 7U);
  EXPECT_EQ(rows[1].at("misses"), 3);
}

TEST_F(CliSimulate, DrawsCurves) {
  const Finished run = cachefs({"simulate", trace_, "--size", "1,2,3", "--plot", place("curves.svg")});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_THAT(text_of(place("curves.svg")), AllOf(StartsWith("<svg"), HasSubstr("belady"), HasSubstr("ttl")));
}

TEST_F(CliSimulate, RefusesWhatItCannotUse) {
  expect_refused({trace_, "--size", "1x"}, 2,
                 "--size: '1x' is not a size; write a number of objects such as 1000 or a share such as 1%");
  expect_refused({trace_, "--by", "bits"}, 2, "--by: 'bits' is neither objects nor bytes");
  expect_refused({trace_ + "2"}, 1, "opening '" + trace_ + "2': No such file or directory");
  std::ofstream(trace_) << "a b c d\n";
  expect_refused({trace_}, 1, "'" + trace_ + "': line 1: has 4 fields; give a key, or time, key and size");
}

TEST_F(CliSimulate, NamesTheNearestPolicy) {
  const Finished run = cachefs({"simulate", trace_, "--policy", "s3fifo"});
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_THAT(run.errors, HasSubstr("did you mean 's3-fifo'?"));
}

/// Each line that begins with "cachefs simulate", after "Examples:".
TEST_F(CliSimulate, TheExamplesOfItsHelpWork) {
  std::istringstream help(cachefs({"simulate", "--help"}).output);
  std::vector<std::vector<std::string>> examples;
  for (std::string line; std::getline(help, line);) {
    std::istringstream words(line);
    std::vector<std::string> example;
    for (std::string word; words >> word;) example.push_back(word);
    if (example.size() > 2 && example[0] == "cachefs" && example[1] == "simulate")
      examples.emplace_back(example.begin() + 1, example.end());
  }
  ASSERT_EQ(examples.size(), 3U);
  for (std::vector<std::string>& example : examples) {
    for (std::string& word : example) {
      if (word.starts_with("accesses.")) word = trace_;
      if (word == "curves.svg") word = place("curves.svg");
    }
    const Finished run = cachefs(example);
    EXPECT_EQ(run.exit_code, 0) << run.errors;
  }
}

}  // namespace
}  // namespace cachefs::test
