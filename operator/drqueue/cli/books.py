"""Where the books are, and reading from them: RenderAccounts, RenderPayments, RenderInvoices."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click
from click.shell_completion import CompletionItem

from drqueue.billing.records import books_uid, is_for
from drqueue.cli.context import Run
from drqueue.cli.errors import ApiError
from drqueue.cli.exits import CliError, Exit
from drqueue.cli.kinds import ACCOUNT, INVOICE, PAYMENT, Kind, Object
from drqueue.cli.objects import find

VARIABLE = "DRQUEUE_BILLING_NAMESPACE"
DEFAULT = "drqueue-system-billing"
"""Where the chart keeps the books of a release that is in `drqueue-system`."""
TRIES = 5

billing_namespace_option = click.option(
    "--billing-namespace",
    "chosen",
    metavar="NAME",
    envvar=VARIABLE,
    is_eager=True,  # so that completion of an account's name knows it already
    help="Namespace of the books. Default: the one that has accounts, as far as you may look, "
    f"else {DEFAULT}.  [env: {VARIABLE}]",
)


@dataclass(frozen=True)
class Books:
    """One account, and all payments and invoices for it, as they were at one moment.

    Those of a former account of its name are not among them.
    """

    account: Object
    payments: list[Object]
    invoices: list[Object]
    settled: bool
    """False: the account was changed again and again while it was read."""


def billing_namespace(run: Run, chosen: str | None) -> str:
    """The namespace of the books. Raises UsageError where several could be meant."""
    if chosen:
        return chosen
    try:
        accounts = run.cluster.list_all(ACCOUNT, None)
    except ApiError as error:
        if error.status != 403:
            raise
        return DEFAULT
    found = sorted({item["metadata"]["namespace"] for item in accounts})
    if len(found) > 1:
        raise click.UsageError(
            f"there are accounts in {', '.join(found)}: name the namespace of the books by "
            f"--billing-namespace or {VARIABLE}"
        )
    return found[0] if found else DEFAULT


def read_account(run: Run, namespace: str, name: str) -> Object:
    """Read one account. Raises CliError: absent, or forbidden with the right that is missing."""
    with _rights(namespace, name):
        return find(run.cluster, ACCOUNT, namespace, name)


def list_accounts(run: Run, namespace: str) -> list[Object]:
    """Read all accounts."""
    with _rights(namespace):
        return run.cluster.list_all(ACCOUNT, namespace)


def read_books(run: Run, namespace: str, name: str) -> Books:
    """Read an account with its payments and invoices, until the account held still meanwhile."""
    account = read_account(run, namespace, name)
    for _ in range(TRIES):
        with _rights(namespace):
            of_it = f"spec.accountName={name}"
            payments = run.cluster.list_all(PAYMENT, namespace, fields=of_it)
            invoices = run.cluster.list_all(INVOICE, namespace, fields=of_it)
        uid = books_uid(account)
        payments = [payment for payment in payments if is_for(payment, uid)]
        invoices = [invoice for invoice in invoices if is_for(invoice, uid)]
        after = read_account(run, namespace, name)
        if after["metadata"]["resourceVersion"] == account["metadata"]["resourceVersion"]:
            return Books(account, payments, invoices, settled=True)
        account = after
    return Books(account, payments, invoices, settled=False)


def complete_account(ctx: click.Context, _: click.Parameter, typed: str) -> list[CompletionItem]:
    """Complete the names of accounts; silent when they cannot be read."""
    try:
        run = ctx.ensure_object(Run)
        namespace = billing_namespace(run, ctx.params.get("chosen"))
        items = run.cluster.list_all(ACCOUNT, namespace)
    except Exception:  # a shell's completion must not print errors
        return []
    names = (item["metadata"]["name"] for item in items)
    return [CompletionItem(name) for name in names if name.startswith(typed)]


@contextmanager
def _rights(namespace: str, account: str | None = None) -> Iterator[None]:
    """Say which right on the books is missing, and how it is given."""
    try:
        yield
    except ApiError as error:
        if error.status != 403:
            raise
        raise _forbidden(error, namespace, account) from error


def _forbidden(error: ApiError, namespace: str, account: str | None) -> CliError:
    keeper = (
        f"kubectl create rolebinding keepers -n {namespace} "
        "--clusterrole=<release's namespace>:drqueue-operator:billing --user=<you>"
    )
    details = [
        f"the API server says: {error.message}",
        f"those who keep the books get it by: {keeper}",
    ]
    if account is not None:
        details.append(
            f"a customer, to see this account only: kubectl create role {account} -n {namespace} "
            f"--verb=get --resource=renderaccounts.drqueue.org --resource-name={account}, "
            f"and a rolebinding to it"
        )
    details.append(
        f"if the books are not in {namespace}, name their namespace by --billing-namespace "
        f"or {VARIABLE}"
    )
    missing = _missing(error, account)
    return CliError(
        Exit.CLUSTER,
        f"the right to {missing} in namespace {namespace} is missing: ask your cluster's ops",
        details,
    )


def _missing(error: ApiError, account: str | None) -> str:
    if account is not None:
        return f"get {_resource(ACCOUNT)} {account!r}"
    kind = next((k for k in (PAYMENT, INVOICE) if error.what == k.plural), ACCOUNT)
    return f"list {_resource(kind)}"


def _resource(kind: Kind) -> str:
    return f"{kind.plural}.drqueue.org"


def account_argument(command: Any) -> Any:
    """The argument NAME of a command on one account."""
    argument = click.argument("name", metavar="NAME", shell_complete=complete_account)
    return argument(command)
