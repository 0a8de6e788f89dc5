"""From Lark's parse tree to declarations: the top of the three builders."""

from typing import cast

from lark import Token
from lark import Tree as Parsed

from parrotc.syntax import tree
from parrotc.syntax.build_body import BodyBuilder
from parrotc.syntax.build_expr import Part


class TreeBuilder(BodyBuilder):
    """Builds one declaration: `item(lark_tree)`."""

    def item(self, part: Part) -> tree.Import | tree.Decl:
        return cast(tree.Import | tree.Decl, self.node(part))

    # --- imports ---

    def import_from(self, part: Parsed[Token]) -> tree.Import:
        module, *names = part.children
        assert isinstance(module, Parsed)
        dots = [child for child in module.children if isinstance(child, Token)]
        path = [child for child in module.children if not isinstance(child, Token)]
        return tree.Import(
            span=self.span(part),
            module=self.dotted(path[0]) if path else "",
            level=len(dots),
            names=self.build(names, tree.ImportedName),
        )

    def import_module(self, part: Parsed[Token]) -> tree.Import:
        module, alias = part.children
        return tree.Import(
            span=self.span(part),
            module=self.dotted(module),
            level=0,
            names=(),
            alias=None if alias is None else str(alias),
        )

    def imported(self, part: Parsed[Token]) -> tree.ImportedName:
        name, alias = part.children
        return tree.ImportedName(
            span=self.span(part), name=str(name), alias=None if alias is None else str(alias)
        )

    # --- constants, models, types ---

    def const_decl(self, part: Parsed[Token]) -> tree.ConstDecl:
        name, type_, value = part.children
        return tree.ConstDecl(
            span=self.span(part),
            name=str(name),
            name_span=self.span(name),
            type=None if type_ is None else self.type_expr(type_),
            value=self.expr(value),
        )

    def model_decl(self, part: Parsed[Token]) -> tree.ModelDecl:
        name, value = part.children
        return tree.ModelDecl(
            span=self.span(part), name=str(name), name_span=self.span(name), value=self.expr(value)
        )

    def enum_decl(self, part: Parsed[Token]) -> tree.EnumDecl:
        decorators, name, *members = part.children
        return tree.EnumDecl(
            span=self.span(part),
            name=str(name),
            name_span=self.span(name),
            decorators=self._decorators(decorators),
            members=self.build(members, tree.EnumMember),
        )

    def enum_member(self, part: Parsed[Token]) -> tree.EnumMember:
        name, doc = part.children
        return tree.EnumMember(span=self.span(part), name=str(name), doc=self._doc(doc))

    def class_decl(self, part: Parsed[Token]) -> tree.ClassDecl:
        decorators, name, *fields = part.children
        return tree.ClassDecl(
            span=self.span(part),
            name=str(name),
            name_span=self.span(name),
            decorators=self._decorators(decorators),
            fields=self.build(fields, tree.FieldDecl),
        )

    def field(self, part: Parsed[Token]) -> tree.FieldDecl:
        name, type_, default, doc = part.children
        return tree.FieldDecl(
            span=self.span(part),
            name=str(name),
            type=self.type_expr(type_),
            default=None if default is None else self.expr(default),
            doc=self._doc(doc),
        )

    def _doc(self, part: Part) -> str:
        return "" if part is None else self.plain(part)

    # --- functions, flows, tests ---

    def pfunc_decl(self, part: Parsed[Token]) -> tree.PfuncDecl:
        decorators, name, params, outputs, pieces = part.children
        return tree.PfuncDecl(
            span=self.span(part),
            name=str(name),
            name_span=self.span(name),
            decorators=self._decorators(decorators),
            params=self._params(params),
            outputs=self._outputs(outputs),
            body=self.body(pieces),
        )

    def extern_decl(self, part: Parsed[Token]) -> tree.ExternDecl:
        decorators, name, params, result, target = part.children
        return tree.ExternDecl(
            span=self.span(part),
            name=str(name),
            name_span=self.span(name),
            decorators=self._decorators(decorators),
            params=self._params(params),
            result=self.type_expr(result),
            target=self.plain(target),
        )

    def flow_decl(self, part: Parsed[Token]) -> tree.FlowDecl:
        decorators, name, params, outputs, suite = part.children
        return tree.FlowDecl(
            span=self.span(part),
            name=str(name),
            name_span=self.span(name),
            decorators=self._decorators(decorators),
            params=self._params(params),
            outputs=self._outputs(outputs),
            body=self.suite(suite),
        )

    def test_decl(self, part: Parsed[Token]) -> tree.TestDecl:
        decorators, title, suite = part.children
        return tree.TestDecl(
            span=self.span(part),
            name=self.plain(title),
            name_span=self.span(title),
            decorators=self._decorators(decorators),
            body=self.suite(suite),
        )

    def _decorators(self, part: Part) -> tuple[tree.Decorator, ...]:
        assert isinstance(part, Parsed)
        return self.build(part.children, tree.Decorator)

    def decorator(self, part: Parsed[Token]) -> tree.Decorator:
        name, args = part.children
        return tree.Decorator(span=self.span(part), name=self.dotted(name), args=self.args(args))

    def _params(self, part: Part) -> tuple[tree.ParamDecl, ...]:
        assert isinstance(part, Parsed)
        return self.build(part.children, tree.ParamDecl)

    def param(self, part: Parsed[Token]) -> tree.ParamDecl:
        name, type_, default = part.children
        return tree.ParamDecl(
            span=self.span(part),
            name=str(name),
            type=self.type_expr(type_),
            default=None if default is None else self.expr(default),
        )

    def _outputs(self, part: Part) -> tuple[tree.OutputDecl, ...]:
        """`-> T` is one output without a name, `-> (a: A, b: B)` several with names."""
        assert isinstance(part, Parsed)
        first = part.children[0]
        if isinstance(first, Parsed) and first.data == "output":
            return self.build(part.children, tree.OutputDecl)
        return (tree.OutputDecl(span=self.span(first), name="", type=self.type_expr(first)),)

    def output(self, part: Parsed[Token]) -> tree.OutputDecl:
        name, type_ = part.children
        return tree.OutputDecl(span=self.span(part), name=str(name), type=self.type_expr(type_))
