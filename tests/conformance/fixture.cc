#include "conformance/fixture.h"

#include <algorithm>
#include <thread>

namespace cachefs::conformance {

std::string factory_name(const ::testing::TestParamInfo<FileSystemFactory>& info) { return info.param.name; }

std::ostream& operator<<(std::ostream& out, const FileSystemFactory& factory) { return out << factory.name; }

void FileSystemTest::SetUp() {
  subject_ = GetParam().make();
  ASSERT_NE(subject_, nullptr);
  root_ = fs().root();
  caller_ = Caller::self();
  caller_.umask = 022;
}

Entry FileSystemTest::lookup(Node& directory, std::string_view name) {
  auto entry = fs().lookup(directory, name, caller_);
  EXPECT_EQ(errno_of(entry), 0) << "look-up of " << name;
  return entry.value_or(Entry{});
}

Entry FileSystemTest::make(Node& directory, std::string_view name, const NewNode& spec) {
  auto entry = fs().make({directory, name}, spec, caller_);
  EXPECT_EQ(errno_of(entry), 0) << "making " << name;
  return entry.value_or(Entry{});
}

Entry FileSystemTest::make_file(Node& directory, std::string_view name, std::string_view content) {
  auto created = fs().create({directory, name}, {.exclusive = true}, caller_);
  EXPECT_EQ(errno_of(created), 0) << "creating " << name;
  if (!created) return {};
  if (!content.empty()) write(*created->file, 0, content);
  EXPECT_EQ(errno_of(created->file->close()), 0);
  return created->entry;
}

std::unique_ptr<File> FileSystemTest::open(Node& node, const OpenFlags& flags) {
  auto opened = fs().open(node, flags, caller_);
  EXPECT_EQ(errno_of(opened), 0);
  return opened ? std::move(opened->file) : nullptr;
}

Attributes FileSystemTest::attributes(Node& node) {
  auto result = fs().attributes(node, caller_);
  EXPECT_EQ(errno_of(result), 0);
  return result.value_or(Attributes{});
}

std::string FileSystemTest::read(File& file, uint64_t offset, size_t size) {
  std::string data(size, '?');
  size_t done = 0;
  while (done < size) {
    auto count = file.read_at(offset + done, std::as_writable_bytes(std::span(data).subspan(done)));
    EXPECT_EQ(errno_of(count), 0);
    if (!count || *count == 0) break;
    done += *count;
  }
  data.resize(done);
  return data;
}

std::string FileSystemTest::content(Node& node) {
  auto file = open(node, {.read = true});
  return file ? read(*file, 0, attributes(node).size + 1) : std::string();
}

void FileSystemTest::write(File& file, uint64_t offset, std::string_view data) {
  auto count = file.write_at(offset, std::as_bytes(std::span(data)));
  EXPECT_EQ(errno_of(count), 0);
  EXPECT_EQ(count.value_or(0), data.size());
}

std::vector<std::string> FileSystemTest::names(Node& directory) {
  std::vector<std::string> all;
  auto stream = fs().open_directory(directory, caller_);
  EXPECT_EQ(errno_of(stream), 0);
  while (stream) {
    auto batch = (*stream)->next_batch();
    EXPECT_EQ(errno_of(batch), 0);
    if (!batch || batch->empty()) break;
    for (auto& entry : *batch) all.push_back(std::move(entry.name));
  }
  std::ranges::sort(all);
  return all;
}

void FileSystemTest::pass_granule() {
  if (!can().shows_changes) return;
  const auto step = can().timestamp_granule + std::chrono::milliseconds(1);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  auto probe = fs().create({root(), ".probe"}, {}, caller_);
  ASSERT_EQ(errno_of(probe), 0);
  AttributeChange change;
  change.mode = 0600;
  auto stamp = [&] {
    auto attributes = probe->file->set_attributes(change, caller_);
    EXPECT_EQ(errno_of(attributes), 0);
    return attributes ? attributes->ctime : Timestamp{};
  };
  const Timestamp start = stamp();
  do {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "time does not pass";
    subject_->advance(step);
    std::this_thread::yield();
  } while (stamp() <= start);
  EXPECT_EQ(remove(".probe"), 0);
}

void FileSystemTest::expect_changed(const Attributes& before, const Attributes& after, Content content) {
  if (!can().shows_changes) return;
  EXPECT_NE(after.version, before.version);
  EXPECT_GT(after.ctime, before.ctime);
  if (content == Content::yes) {
    EXPECT_GT(after.mtime, before.mtime);
  } else {
    EXPECT_EQ(after.mtime, before.mtime);
  }
}

}  // namespace cachefs::conformance
