// What a decoder takes from the standard library and the system. Included before an instruction set is chosen: what
// these define inline must still run on any processor.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

#include "memory.h"
#include "wavenet.h"
#include "wavenet_draw.h"
