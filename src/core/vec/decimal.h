/*
 * decimal.h - doubles and floats as decimal text and back, to the last bit, in no locale.
 *
 * Text is the shortest that reads back as the same number, and of those the nearest. Nothing is allocated. Floats are read by
 * iqdb_float_parse (text.h).
 */
#ifndef IQDB_VEC_DECIMAL_H
#define IQDB_VEC_DECIMAL_H

#include <stdbool.h>
#include <stddef.h>

/* No text is longer. */
#define IQDB_DECIMAL_TEXT_MAX 32

/*
 * Writes a finite number without NUL and returns the length. A double's text always has a point or an exponent, so that it can
 * be told from an integer's; a float's has them where it needs them.
 */
size_t iqdb_double_text(double value, char text[IQDB_DECIMAL_TEXT_MAX]);
size_t iqdb_float_text(float value, char text[IQDB_DECIMAL_TEXT_MAX]);

/*
 * The double nearest to [-] digits [. digits] [e [+-] digits], ties to even; what is too small becomes a zero of its sign. The
 * text must be of this form. false: too large.
 */
bool iqdb_double_parse(const char *text, size_t length, double *value_out);

#endif
