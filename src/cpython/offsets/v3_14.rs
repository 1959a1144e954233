//! The table of CPython 3.14 (Include/internal/pycore_debug_offsets.h of 3.14.0): where in it the
//! fields stand that we use, in the order in which `offsets` names them.

use super::Wire;

pub(super) const WIRE: Wire = Wire {
    size: 760,
    runtime_state: [24, 40],
    interpreter_state: [48, 56, 64, 72, 96, 160],
    thread_state: [176, 192, 200, 208, 224],
    interpreter_frame: [248, 256, 264, 272, 280, 288, 296, 304],
    code_object: [312, 320, 336, 344, 352, 384, 392],
    pyobject: [400, 408],
    type_object: [416, 424, 440],
    tuple_object: [448, 456, 464],
    list_object: [472, 480, 488],
    set_object: [496, 504, 512, 520],
    dict_object: [528, 536],
    long_object: [568, 576, 584],
    bytes_object: [592, 600, 608],
    unicode_object: [616, 624, 632, 640],
    gen_object: [664, 680, 688],
    llist_node: [696, 704],
};

// A table of another size has other fields: look at all of them.
const _: () = assert!(WIRE.size == 95 * 8);
