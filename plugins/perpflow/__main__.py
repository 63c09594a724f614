"""The command line: `python -m perpflow`, installed as `perpflow`. Exit 0 done, 1 failed, 2 bad usage."""

import typer

from perpflow.embedded.commands import app as services

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="Binance USD-M futures data, complete and verified."
)
app.add_typer(services, name="services")

if __name__ == "__main__":
    app()
