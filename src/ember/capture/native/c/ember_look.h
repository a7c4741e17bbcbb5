/* One look at all that a captured program relies on, as a function of Python that is called before each step.
 *
 * Of Python only functions of its stable interface are used, declared here, so that no headers of it are needed. Of torch only
 * words of memory are compared, at places that look.py has found out and tried; the words that change without harm are masked.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct _object PyObject;
typedef ptrdiff_t Py_ssize_t;
extern PyObject _Py_NoneStruct;
extern void Py_IncRef(PyObject *), Py_DecRef(PyObject *), PyErr_Clear(void);
extern PyObject *PyTuple_GetItem(PyObject *, Py_ssize_t), *PyList_GetItem(PyObject *, Py_ssize_t);
extern Py_ssize_t PyTuple_Size(PyObject *), PyList_Size(PyObject *), PyDict_Size(PyObject *), PyObject_Size(PyObject *);
extern PyObject *PyDict_GetItemWithError(PyObject *, PyObject *), *PyCell_Get(PyObject *);
extern int PyDict_Next(PyObject *, Py_ssize_t *, PyObject **, PyObject **);
extern PyObject *PyObject_GetAttr(PyObject *, PyObject *), *PyObject_CallObject(PyObject *, PyObject *);
extern PyObject *PyObject_Type(PyObject *);
extern int PyObject_RichCompareBool(PyObject *, PyObject *, int), PyObject_IsTrue(PyObject *);
extern PyObject *PyFunction_GetCode(PyObject *), *PyFunction_GetDefaults(PyObject *), *PyFunction_GetKwDefaults(PyObject *);
extern char *PyByteArray_AsString(PyObject *);
extern PyObject *PyErr_Occurred(void);
extern int PyErr_ExceptionMatches(PyObject *);
extern PyObject *PyExc_AttributeError, *PyExc_LookupError, *PyExc_RuntimeError, *PyExc_SystemError, *PyExc_TypeError, *PyExc_ValueError;
typedef PyObject *(*Called)(PyObject *, PyObject *const *, Py_ssize_t);
typedef struct { const char *name; Called function; int flags; const char *doc; } Method;
extern PyObject *PyCFunction_NewEx(Method *, PyObject *, PyObject *);
enum { FASTCALL = 0x80, EQUAL = 2 };

/* What a look consists of: the tuple that it is bound to. */
enum { NOTED, NAMES, TENSOR, OTHERS, PATHS, CALLS, DICTS, KEYS, VALUES, FUNCTIONS, PARTS, CELLS, CONTENTS, TENSORS, MEMORY, REST, MISSING, TRAINED };

/* Words of torch's objects: counts, and masks with ones where a word counts. Set once, before the first look. */
enum { MOST_WORDS = 64 };
static struct {
    int64_t object, impl_words, meta_words, meta, storage, data; /* object: which word of the Python object is the tensor */
    int64_t dims, most_dims; /* the word of how many dims; after it come as many sizes and as many strides as fit inside */
    uint64_t impl_mask[MOST_WORDS], meta_mask[MOST_WORDS], alike_mask[MOST_WORDS];
} layout;

/* What is noted of a tensor. */
typedef struct {
    const uint64_t *impl;
    uint64_t data, words[MOST_WORDS], meta[MOST_WORDS];
} Snapshot;

int64_t ember_look_layout_bytes(void) { return sizeof layout; }
int64_t ember_look_snapshot_bytes(void) { return sizeof(Snapshot); }
void ember_look_set_layout(const void *given) { memcpy(&layout, given, sizeof layout); }

static const uint64_t *impl_of(PyObject *tensor) { return ((const uint64_t *const *)tensor)[layout.object]; }
static const uint64_t *meta_of(const uint64_t *impl) { return (const uint64_t *)impl[layout.meta]; }
static uint64_t data_of(const uint64_t *impl) {
    const uint64_t *const storage = (const uint64_t *)impl[layout.storage];
    return storage ? storage[layout.data] : 0;
}

static void take(Snapshot *s, PyObject *tensor) {
    s->impl = impl_of(tensor);
    s->data = data_of(s->impl);
    for (int64_t k = 0; k < layout.impl_words; k++) s->words[k] = s->impl[k];
    const uint64_t *const meta = meta_of(s->impl);
    if (meta) for (int64_t k = 0; k < layout.meta_words; k++) s->meta[k] = meta[k];
}

static int differ(const uint64_t *a, const uint64_t *b, const uint64_t *mask, int64_t count) {
    uint64_t found = 0;
    for (int64_t k = 0; k < count; k++) found |= (a[k] ^ b[k]) & mask[k];
    return found != 0;
}

/* The sizes of a tensor of more dims lie elsewhere and can change there: such a tensor is never sure to be as it was. */
static int is_inside(const uint64_t *impl) { return impl[layout.dims] <= (uint64_t)layout.most_dims; }

/* Of sizes and strides, torch leaves what the dims do not need as it finds it. */
static int is_unused(const uint64_t *impl, int64_t word) {
    const int64_t k = word - layout.dims - 1;
    return 0 <= k && k < 2 * layout.most_dims && (uint64_t)(k % layout.most_dims) >= impl[layout.dims];
}

static int changed(const Snapshot *s, PyObject *tensor) {
    const uint64_t *const impl = impl_of(tensor);
    if (impl != s->impl || !is_inside(impl) || differ(impl, s->words, layout.impl_mask, layout.impl_words)) return 1;
    const uint64_t *const meta = meta_of(impl);
    return data_of(impl) != s->data || (meta && differ(meta, s->meta, layout.meta_mask, layout.meta_words));
}

void ember_look_take(void *snapshot, PyObject *tensor) { take(snapshot, tensor); }
int32_t ember_look_changed(const void *snapshot, PyObject *tensor) { return changed(snapshot, tensor); }
int32_t ember_look_alike(const void *snapshot, PyObject *tensor) {
    const Snapshot *const s = snapshot;
    const uint64_t *const impl = impl_of(tensor);
    if (!is_inside(impl)) return 0;
    for (int64_t k = 0; k < layout.impl_words; k++)
        if (((impl[k] ^ s->words[k]) & layout.alike_mask[k]) && !is_unused(s->words, k)) return 0;
    return 1;
}

#define PART(k) PyTuple_GetItem(self, k)

static int is_type(PyObject *object, PyObject *type) {
    PyObject *const own = PyObject_Type(object);
    Py_DecRef(own);
    return own == type;
}

static int same_attribute(PyObject *a, PyObject *b, PyObject *name) {
    PyObject *const of_a = PyObject_GetAttr(a, name), *const of_b = PyObject_GetAttr(b, name);
    if (of_a) Py_DecRef(of_a);
    if (of_b) Py_DecRef(of_b);
    return of_a && of_a == of_b;
}

/* Whether arguments are the noted ones (1), or tensors laid out as they are, in the same places (2). */
static int arguments(PyObject *self, PyObject *args, PyObject *kwargs, PyObject *noted, const Snapshot *memory) {
    PyObject *const names = PART(NAMES), *const kind = PART(TENSOR);
    const Py_ssize_t named = PyTuple_Size(names), count = PyTuple_Size(args);
    if (PyDict_Size(kwargs) != named || count + named != PyTuple_Size(noted)) return 0;
    Py_ssize_t at = 0;
    int result = 1;
    for (Py_ssize_t k = 0; k < count + named; k++) {
        PyObject *name, *value;
        if (k < count) value = PyTuple_GetItem(args, k);
        else if (!PyDict_Next(kwargs, &at, &name, &value) || !PyObject_RichCompareBool(name, PyTuple_GetItem(names, k - count), EQUAL))
            return 0;
        PyObject *const old = PyTuple_GetItem(noted, k);
        const int is_tensor = is_type(old, kind);
        if (value != old) {
            if (!is_tensor || !is_type(value, kind) || !ember_look_alike(memory, value)) return 0;
            if (!same_attribute(value, old, PART(TRAINED))) return 0;
            result = 2;
        }
        memory += is_tensor;
    }
    return result;
}

static int paths_hold(PyObject *paths) {
    const Py_ssize_t count = PyTuple_Size(paths);
    for (Py_ssize_t k = 0; k < count; k++) {
        PyObject *const row = PyTuple_GetItem(paths, k), *const value = PyTuple_GetItem(row, 2);
        PyObject *const names = PyTuple_GetItem(row, 1);
        PyObject *at = PyTuple_GetItem(row, 0);
        const Py_ssize_t length = PyTuple_Size(names);
        Py_IncRef(at);
        for (Py_ssize_t j = 0; at && j < length; j++) {
            PyObject *const next = PyObject_GetAttr(at, PyTuple_GetItem(names, j));
            Py_DecRef(at);
            at = next;
        }
        if (!at) return 0;
        const int same = at == value || PyObject_RichCompareBool(at, value, EQUAL) == 1;
        Py_DecRef(at);
        if (!same) return 0;
    }
    return 1;
}

static int calls_hold(PyObject *calls) {
    const Py_ssize_t count = PyTuple_Size(calls);
    for (Py_ssize_t k = 0; k < count; k++) {
        PyObject *const row = PyTuple_GetItem(calls, k), *const value = PyTuple_GetItem(row, 1);
        PyObject *const found = PyObject_CallObject(PyTuple_GetItem(row, 0), NULL);
        if (!found) return 0;
        const int same = found == value || PyObject_RichCompareBool(found, value, EQUAL) == 1;
        Py_DecRef(found);
        if (!same) return 0;
    }
    return 1;
}

static int names_hold(PyObject *dicts, PyObject *keys, PyObject *values, PyObject *missing) {
    const Py_ssize_t count = PyList_Size(dicts);
    for (Py_ssize_t k = 0; k < count; k++) {
        PyObject *const now = PyDict_GetItemWithError(PyList_GetItem(dicts, k), PyList_GetItem(keys, k));
        if ((now ? now : missing) != PyList_GetItem(values, k)) return 0;
    }
    return 1;
}

static int functions_hold(PyObject *functions, PyObject *parts) {
    const Py_ssize_t count = PyList_Size(functions);
    for (Py_ssize_t k = 0; k < count; k++) {
        PyObject *const function = PyList_GetItem(functions, k);
        PyObject *const now[] = {PyFunction_GetCode(function), PyFunction_GetDefaults(function), PyFunction_GetKwDefaults(function)};
        for (int j = 0; j < 3; j++)
            if ((now[j] ? now[j] : &_Py_NoneStruct) != PyList_GetItem(parts, 3 * k + j)) return 0;
    }
    return 1;
}

static int cells_hold(PyObject *cells, PyObject *contents) {
    const Py_ssize_t count = PyList_Size(cells);
    for (Py_ssize_t k = 0; k < count; k++) {
        PyObject *const now = PyCell_Get(PyList_GetItem(cells, k));
        if (now) Py_DecRef(now);
        if (!now || now != PyList_GetItem(contents, k)) return 0;
    }
    return 1;
}

static int rest_holds(PyObject *rest) {
    const Py_ssize_t count = PyTuple_Size(rest);
    for (Py_ssize_t k = 0; k < count; k++) {
        PyObject *const said = PyObject_CallObject(PyTuple_GetItem(rest, k), NULL);
        const int holds = said && PyObject_IsTrue(said) == 1;
        if (said) Py_DecRef(said);
        if (!holds) return 0;
    }
    return 1;
}

static PyObject *kept(PyObject *object) {
    Py_IncRef(object);
    return object;
}

/* Whether an error comes from looking at something that has changed. Others are not ours: handlers of signals may run meanwhile, and
 * what they raise (KeyboardInterrupt) must not be lost. */
static int is_of_the_look(void) {
    PyObject *const kinds[] = {PyExc_AttributeError, PyExc_LookupError, PyExc_RuntimeError, PyExc_SystemError, PyExc_TypeError, PyExc_ValueError};
    for (int k = 0; k < 6; k++)
        if (PyErr_ExceptionMatches(kinds[k])) return 1;
    return 0;
}

/* look(args, kwargs): what is noted with these arguments, if all holds; the marker of other tensors if they are laid out as those;
 * else None. */
static PyObject *look(PyObject *self, PyObject *const *given, Py_ssize_t count) {
    PyObject *const noted = PyList_GetItem(PART(NOTED), 0), *const tensors = PART(TENSORS);
    const Snapshot *const memory = (const Snapshot *)PyByteArray_AsString(PART(MEMORY));
    const int asked = count == 2 ? arguments(self, given[0], given[1], PyTuple_GetItem(noted, 0), memory) : 0;
    int holds = asked != 0;
    /* Arguments come first among the tensors, by what is noted with them. */
    PyObject *const own = PyTuple_GetItem(noted, 1);
    const Py_ssize_t arguments_noted = PyTuple_Size(own), others = PyList_Size(tensors);
    for (Py_ssize_t k = 0; holds && asked == 1 && k < arguments_noted; k++) holds = !changed(memory + k, PyTuple_GetItem(own, k));
    for (Py_ssize_t k = 0; holds && k < others; k++) holds = !changed(memory + arguments_noted + k, PyList_GetItem(tensors, k));
    holds = holds && paths_hold(PART(PATHS)) && calls_hold(PART(CALLS)) && names_hold(PART(DICTS), PART(KEYS), PART(VALUES), PART(MISSING)) &&
            functions_hold(PART(FUNCTIONS), PART(PARTS)) && cells_hold(PART(CELLS), PART(CONTENTS)) && rest_holds(PART(REST));
    if (!holds) {
        if (PyErr_Occurred() && !is_of_the_look()) return NULL;
        PyErr_Clear();
        return kept(&_Py_NoneStruct);
    }
    return kept(asked == 1 ? PyTuple_GetItem(noted, 2) : PART(OTHERS));
}

PyObject *ember_look_new(PyObject *parts) {
    static Method method = {"look", look, FASTCALL, "look(args, kwargs): whether all is as it was noted"};
    return PyCFunction_NewEx(&method, parts, NULL);
}
