//! The table of CPython 3.15 (Include/internal/pycore_debug_offsets.h of 3.15.0): that of 3.14 with
//! fields inserted from the thread state on.

use super::Wire;

pub(super) const WIRE: Wire = Wire {
    size: 888,
    runtime_state: [24, 40],
    interpreter_state: [48, 56, 64, 72, 96, 160],
    thread_state: [176, 192, 200, 208, 248],
    interpreter_frame: [312, 320, 328, 336, 344, 352, 360, 368],
    code_object: [376, 384, 400, 408, 416, 448, 456],
    pyobject: [464, 472],
    type_object: [480, 488, 504],
    tuple_object: [544, 552, 560],
    list_object: [568, 576, 584],
    set_object: [592, 600, 608, 616],
    dict_object: [624, 632],
    long_object: [664, 672, 680],
    bytes_object: [688, 696, 704],
    unicode_object: [712, 720, 728, 736],
    gen_object: [792, 808, 816],
    llist_node: [824, 832],
};

// A table of another size has other fields: look at all of them.
const _: () = assert!(WIRE.size == 111 * 8);
