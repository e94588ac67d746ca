/* Whether a name leads to a file: see file_place.pyx. */

#ifndef RANGO_FILE_PLACE_H
#define RANGO_FILE_PLACE_H

#include <errno.h>
#include <stdint.h>
#include <sys/stat.h>

/* on doubt, yes */
static int rango_same_file(const char *path, uint64_t device, uint64_t number)
{
    struct stat found;
    if (stat(path, &found) != 0)
        return errno != ENOENT && errno != ENOTDIR;
    return (uint64_t)found.st_dev == device && (uint64_t)found.st_ino == number;
}

#endif
