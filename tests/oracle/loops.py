"""What CPython says of its instructions, and of the `await`s in its library: which stand in a loop, by the text of the program.

Prints words for caches and kinds of instructions as two lines of 256 characters, as src/cpython/loops.rs has them, and then a
line for each `await`: code, exception table, unit, and whether it is in a loop."""

import ast
import dis
import opcode
import pathlib
import sysconfig
import types

# They stand in the place of others.
OPAQUE = {"INSTRUMENTED_LINE", "INSTRUMENTED_INSTRUCTION", "ENTER_EXECUTOR", "TRACE_RECORD", "RESERVED"}
ENDS = {"RETURN_VALUE", "RAISE_VARARGS", "RERAISE", "INTERPRETER_EXIT"}
KINDS = {"JUMP_BACKWARD": "b", "JUMP_BACKWARD_NO_INTERRUPT": "a", "JUMP_FORWARD": "j", "SEND": "s", "EXTENDED_ARG": "e"}
# Its argument tells where the loop began, and is no jump.
KINDS["END_ASYNC_FOR"] = "."
KINDS |= dict.fromkeys(ENDS, "x")


def print_instructions():
    numbers = opcode.opmap | opcode._specialized_opmap
    general = {special: family for family, specials in opcode._specializations.items() for special in specials}
    jumps = {opcode.opname[number] for number in opcode.hasjrel}
    caches, kinds = ["?"] * 256, ["?"] * 256
    for name, number in numbers.items():
        # Larger numbers are those of the compiler.
        if number < 256 and name not in OPAQUE:
            name = general.get(name, name).removeprefix("INSTRUMENTED_")
            caches[number] = str(opcode._inline_cache_entries.get(name, 0))
            kinds[number] = KINDS.get(name, "f" if name in jumps else ".")
    print("".join(caches))
    print("".join(kinds))


class Awaits(ast.NodeVisitor):
    """The places of all `await`s, and whether there is a loop around them in their function."""

    def __init__(self):
        self.found = {}
        self.in_loop = False

    def visit_Await(self, node):
        self.found[node.lineno, node.end_lineno, node.col_offset, node.end_col_offset] = self.in_loop
        self.generic_visit(node)

    def within(self, in_loop, nodes):
        before, self.in_loop = self.in_loop, in_loop
        for node in nodes:
            self.visit(node)
        self.in_loop = before

    def visit_function(self, node):
        self.within(False, ast.iter_child_nodes(node))

    def visit_loop(self, node):
        once = [node.iter] if hasattr(node, "iter") else []
        again = [node.target] if hasattr(node, "target") else [node.test]
        self.within(self.in_loop, once + node.orelse)
        self.within(True, again + node.body)

    def visit_comprehension(self, node):
        # The first iterable is taken once; to be sure of that is not worth it.
        self.within(True, ast.iter_child_nodes(node))

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = visit_function
    visit_For = visit_AsyncFor = visit_While = visit_loop
    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = visit_comprehension


def codes(code):
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes(constant)


def print_awaits(path):
    text = path.read_text()
    awaits = Awaits()
    awaits.visit(ast.parse(text))
    for code in codes(compile(text, str(path), "exec")):
        for it in dis.get_instructions(code):
            place = it.positions and (it.positions.lineno, it.positions.end_lineno, it.positions.col_offset, it.positions.end_col_offset)
            if it.opname == "YIELD_VALUE" and place in awaits.found:
                print(code.co_code.hex(), code.co_exceptiontable.hex() or "-", it.offset // 2, awaits.found[place])


print_instructions()
library = pathlib.Path(sysconfig.get_path("stdlib"))
for path in [*sorted(library.glob("asyncio/*.py")), library / "contextlib.py", *sorted(pathlib.Path(__file__).parents[1].glob("programs/*.py"))]:
    print_awaits(path)
