"""Writes the CRDs from the models: `python -m drqueue.api.crds crds [--chart DIR] [--check]`.

Into the given folder as plain manifests, and into the chart's folder as templates. With `--check`
nothing is written, and a difference ends in exit code 1.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

from drqueue.api import GROUP, VERSION, generated
from drqueue.api.account import RenderAccount
from drqueue.api.base import Resource
from drqueue.api.invoice import RenderInvoice
from drqueue.api.job import RenderJob
from drqueue.api.node import RenderNode
from drqueue.api.nodeclass import RenderNodeClass
from drqueue.api.payment import RenderPayment
from drqueue.api.schema import structural_schema
from drqueue.api.session import RenderSession

KINDS: tuple[type[Resource], ...] = (
    RenderSession,
    RenderJob,
    RenderNode,
    RenderNodeClass,
    RenderAccount,
    RenderPayment,
    RenderInvoice,
)
MEND = "make crds"
KEEP = {"helm.sh/resource-policy": "keep"}


def crd(kind: type[Resource]) -> dict[str, Any]:
    """Build the CustomResourceDefinition of a kind."""
    version: dict[str, Any] = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": structural_schema(kind)},
        "subresources": {"status": {}},
        "additionalPrinterColumns": [_column(column) for column in kind.columns],
    }
    if kind.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in kind.selectable]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.kind.lower(),
                "shortNames": list(kind.short_names),
                "categories": [kind.category],
            },
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "versions": [version],
        },
    }


def _column(column: Any) -> dict[str, Any]:
    written = {"name": column.name, "type": column.type, "jsonPath": column.json_path}
    return {**written, "priority": column.priority} if column.priority else written


class _Dumper(yaml.SafeDumper):
    """Repeats what is equal rather than refer to it: a CRD is read by people."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write no anchors."""
        return True


HEADER = f"# Generated from operator/drqueue/api by `{MEND}`: edit the models, not this file.\n"


def manifest(kind: type[Resource]) -> str:
    """Write a kind's CRD as YAML."""
    return HEADER + yaml.dump(
        crd(kind), Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True
    )


def chart_template(kind: type[Resource]) -> str:
    """Write a kind's CRD as a template of the chart: upgraded with it, kept at its uninstall."""
    definition = crd(kind)
    definition["metadata"]["annotations"] = KEEP
    text = yaml.dump(definition, Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True)
    return f"{HEADER}{{{{- if .Values.crds.install }}}}\n{escape(text)}{{{{- end }}}}\n"


def escape(text: str) -> str:
    """Write text so that Helm renders it as it is."""
    return text.replace("{{", '{{ "{{" }}')


def outputs(folder: Path, chart: Path | None) -> dict[Path, str]:
    """Give the text of every file to write."""
    texts = {folder / f"{kind.plural}.{GROUP}.yaml": manifest(kind) for kind in KINDS}
    if chart is not None:
        texts |= {chart / f"{kind.plural}.yaml": chart_template(kind) for kind in KINDS}
    return texts


def leftovers(texts: dict[Path, str]) -> list[Path]:
    """Find generated files in the folders that nothing generates any more."""
    folders = sorted({path.parent for path in texts})
    present = (path for folder in folders for path in sorted(folder.glob("*.yaml")))
    return [p for p in present if p not in texts and p.read_text("utf-8").startswith(HEADER)]


def main(arguments: list[str] | None = None) -> int:
    """Run the command; gives its exit code."""
    parser = argparse.ArgumentParser(description="Write the CRDs from the models.")
    parser.add_argument("folder", type=Path, help="where the manifests go, as in crds")
    parser.add_argument("--chart", type=Path, help="where the chart's templates go")
    parser.add_argument("--check", action="store_true", help="write nothing, report differences")
    options = parser.parse_args(arguments)
    texts = outputs(options.folder, options.chart)
    if options.check:
        left = [f"{path} is of no kind" for path in leftovers(texts)]
        return generated.report(generated.stale(texts) + left, MEND)
    generated.write(texts)
    for path in leftovers(texts):
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
