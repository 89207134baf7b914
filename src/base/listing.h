// What a folder holds.
#pragma once

#include <string>
#include <vector>

namespace halftone {

// The names in the folder, without . and .., in byte order. Errors: missing, no folder, no permission.
// (std::filesystem's iterator ends the process when memory runs out within it.)
std::vector<std::string> names_in(const std::string& folder);
// The same; nothing where there is no such folder.
std::vector<std::string> names_in_if_there(const std::string& folder);

// Removes a file, or a folder with all that is in it, or nothing where there is neither; links are not
// followed.
void remove_tree(const std::string& path);

}  // namespace halftone
