// Directory streams.
#include <map>
#include <span>

#include "conformance/fixture.h"

namespace cachefs::conformance {
namespace {

class Listing : public FileSystemTest {
 protected:
  std::unique_ptr<DirectoryStream> open_stream(Node& directory) {
    auto stream = fs().open_directory(directory, caller());
    EXPECT_EQ(errno_of(stream), 0);
    return stream ? std::move(*stream) : nullptr;
  }
  /// False at the end.
  bool count_batch(DirectoryStream& stream, std::map<std::string, int>& counts) {
    auto batch = stream.next_batch();
    EXPECT_EQ(errno_of(batch), 0);
    if (!batch) return false;
    for (const auto& entry : *batch) ++counts[entry.name];
    return !batch->empty();
  }
};
RUN_OVER_ALL_FILE_SYSTEMS(Listing);

TEST_P(Listing, OfAnEmptyDirectoryIsEmpty) { EXPECT_TRUE(names(*make_directory("directory").node).empty()); }

TEST_P(Listing, TellsNamesAndKinds) {
  make_file("file");
  make_directory("directory");
  std::map<std::string, FileKind> kinds;
  auto stream = open_stream(root());
  auto batch = stream->next_batch();
  ASSERT_EQ(errno_of(batch), 0);
  for (const auto& entry : *batch) kinds[entry.name] = entry.kind;
  EXPECT_EQ(kinds, (std::map<std::string, FileKind>{{"directory", FileKind::directory},
                                                    {"file", FileKind::regular}}));
}

TEST_P(Listing, InodeIsThatOfTheAttributes) {
  REQUIRE_CAPABILITY(can().stable_identity);
  const Entry file = make_file("file");
  const auto batch = open_stream(root())->next_batch();
  ASSERT_EQ(errno_of(batch), 0);
  ASSERT_EQ(batch->size(), 1U);
  EXPECT_EQ(batch->front().inode, file.attributes.identity.inode);
}

TEST_P(Listing, OfAFileFails) {
  EXPECT_EQ(errno_of(fs().open_directory(*make_file("file").node, caller())), ENOTDIR);
}

TEST_P(Listing, StaysAtItsEnd) {
  make_file("file");
  auto stream = open_stream(root());
  std::map<std::string, int> counts;
  while (count_batch(*stream, counts)) {
  }
  EXPECT_FALSE(count_batch(*stream, counts));
  EXPECT_EQ(counts.at("file"), 1);
}

TEST_P(Listing, OfALargeDirectoryHasEachNameOnce) {
  for (int i = 0; i < 1'000; ++i) make_file("file" + std::to_string(i));
  auto stream = open_stream(root());
  std::map<std::string, int> counts;
  while (count_batch(*stream, counts)) {
  }
  EXPECT_EQ(counts.size(), 1'000U);
  for (const auto& [name, count] : counts) EXPECT_EQ(count, 1) << name;
}

TEST_P(Listing, NamesThatStayComeOnceWhileOthersComeAndGo) {
  for (int i = 0; i < 300; ++i) {
    make_file("stays" + std::to_string(i));
    make_file("goes" + std::to_string(i));
  }
  auto stream = open_stream(root());
  std::map<std::string, int> counts;
  int round = 0;
  while (count_batch(*stream, counts) && round < 300) {
    EXPECT_EQ(remove("goes" + std::to_string(round)), 0);
    make_file("comes" + std::to_string(round));
    ++round;
  }
  for (int i = 0; i < 300; ++i) EXPECT_EQ(counts["stays" + std::to_string(i)], 1) << i;
}

TEST_P(Listing, NameThatIsReplacedComesOnce) {
  for (int i = 0; i < 200; ++i) make_file("file" + std::to_string(i));
  auto stream = open_stream(root());
  std::map<std::string, int> counts;
  count_batch(*stream, counts);
  make_file("replacement");
  const std::string seen = counts.begin()->first;
  EXPECT_EQ(rename("replacement", seen), 0);
  while (count_batch(*stream, counts)) {
  }
  EXPECT_EQ(counts[seen], 1);
}

/// All that the stream still gives.
std::vector<DirectoryEntry> rest_of(DirectoryStream& stream) {
  std::vector<DirectoryEntry> entries;
  for (;;) {
    const auto batch = stream.next_batch();
    EXPECT_EQ(errno_of(batch), 0);
    if (!batch || batch->empty()) return entries;
    entries.insert(entries.end(), batch->begin(), batch->end());
  }
}

std::vector<std::string> names_of(std::span<const DirectoryEntry> entries) {
  std::vector<std::string> names;
  for (const DirectoryEntry& entry : entries) names.push_back(entry.name);
  return names;
}

TEST_P(Listing, GoesOnAfterAnyEntry) {
  for (int i = 0; i < 200; ++i) make_file("file" + std::to_string(i));
  auto stream = open_stream(root());
  const std::vector<DirectoryEntry> all = rest_of(*stream);
  ASSERT_EQ(all.size(), 200U);
  for (const size_t after : {199U, 0U, 100U, 198U, 63U, 64U}) {
    ASSERT_EQ(errno_of(stream->seek(all[after].cookie)), 0);
    EXPECT_EQ(names_of(rest_of(*stream)), names_of(std::span(all).subspan(after + 1))) << after;
  }
  ASSERT_EQ(errno_of(stream->seek(0)), 0);
  EXPECT_EQ(names_of(rest_of(*stream)), names_of(all));
}

TEST_P(Listing, GoesOnAfterAnEntryThatIsGone) {
  for (int i = 0; i < 200; ++i) make_file("file" + std::to_string(i));
  auto stream = open_stream(root());
  const std::vector<DirectoryEntry> all = rest_of(*stream);
  ASSERT_EQ(all.size(), 200U);
  for (size_t i = 0; i <= 100; ++i) ASSERT_EQ(remove(all[i].name), 0);
  ASSERT_EQ(errno_of(stream->seek(all[100].cookie)), 0);
  EXPECT_EQ(names_of(rest_of(*stream)), names_of(std::span(all).subspan(101)));
}

TEST_P(Listing, CookiesOfOneStreamServeAnother) {
  for (int i = 0; i < 200; ++i) make_file("file" + std::to_string(i));
  const std::vector<DirectoryEntry> all = rest_of(*open_stream(root()));
  ASSERT_EQ(all.size(), 200U);
  for (size_t i = 0; i <= 100; ++i) ASSERT_EQ(remove(all[i].name), 0);
  auto other = open_stream(root());
  ASSERT_EQ(errno_of(other->seek(all[100].cookie)), 0);
  EXPECT_EQ(names_of(rest_of(*other)), names_of(std::span(all).subspan(101)));
}

}  // namespace
}  // namespace cachefs::conformance
