// Two units that both include the header in one program: a function that is not inline would be defined twice.
#ifndef TWO_UNITS_HPP
#define TWO_UNITS_HPP

#include <ackbus.hpp>

ackbus::publisher connect();

#endif
