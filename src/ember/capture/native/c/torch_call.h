/* Calls of torch from a generated program. E is a table that Python fills: the calls' numbers in it are fixed when the program is
 * written, its pointers when the program is bound to memory. Nothing of torch or Python is linked or compiled here.
 *
 * A call returns 0, or -1 with a Python exception set; the interpreter's lock is held. */
#ifndef EMBER_TORCH_CALL_H
#define EMBER_TORCH_CALL_H

#include <stdint.h>

/* E[0] is PyObject_CallNoArgs and E[1] is Py_DecRef. */
static int ember_call_python(void *const *E, int callable) {
    void *result = ((void *(*)(void *))E[0])(E[callable]);
    if (!result) return -1;
    ((void (*)(void *))E[1])(result);
    return 0;
}

/* At `first`: a function of torch's C interface, three tensors, and a Python callable that does the same. Where torch refuses, the
 * callable is what raises its error. */
static int ember_call_product(void *const *E, int first) {
    int32_t (*function)(void *, void *, void *) = (int32_t(*)(void *, void *, void *))E[first];
    if (function && function(E[first + 1], E[first + 2], E[first + 3]) == 0) return 0;
    return ember_call_python(E, first + 4);
}

/* The same with four tensors and two factors. */
static int ember_call_sum_and_product(void *const *E, int first, double beta, double alpha) {
    int32_t (*function)(void *, void *, void *, void *, double, double) =
        (int32_t(*)(void *, void *, void *, void *, double, double))E[first];
    if (function && function(E[first + 1], E[first + 2], E[first + 3], E[first + 4], beta, alpha) == 0) return 0;
    return ember_call_python(E, first + 5);
}

#endif
