"""How a message leaves: by Airflow's notifiers, whose addresses and secrets are those of Airflow's connections.

Mail by the provider for SMTP, Slack by its own where it is installed; a webhook gets the message as JSON, by httpx.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import httpx
from airflow.sdk import BaseHook, BaseNotifier, Connection, Context

from perpflow.errors import BadConfiguration
from perpflow.health.news import Message
from perpflow.monitoring import AlertSettings

#: Who does not take a message in this time does not take it.
TIMEOUT_S = 15.0
SLACK = "airflow.providers.slack"


class WebhookNotifier(BaseNotifier):
    """Posts JSON to the connection's address.

    The address is its host, with what belongs to it: `https://host/path?query`, or host, port, and path as schema. A
    password is sent as a bearer token, a login and password by HTTP's basic scheme; `headers` of its extra as they are.
    """

    def __init__(self, connection: str, payload: Mapping[str, Any]) -> None:
        super().__init__()
        self.connection = connection
        self.payload = payload

    def notify(self, context: Context) -> None:
        """Send it.

        Raises:
            httpx.HTTPError: nobody answers, or not with 2xx.
        """
        connection = BaseHook.get_connection(self.connection)
        headers, auth = dict(connection.extra_dejson.get("headers") or {}), None
        if connection.login:
            auth = httpx.BasicAuth(connection.login, connection.password or "")
        elif connection.password:
            headers["Authorization"] = f"Bearer {connection.password}"
        answer = httpx.post(address_of(connection), json=self.payload, headers=headers, auth=auth, timeout=TIMEOUT_S)
        if not answer.is_success:
            # Not httpx' own words: they quote the address, and that of a webhook is a secret mostly.
            raise httpx.HTTPError(f"it answers {answer.status_code} {answer.reason_phrase}")


def address_of(connection: Connection) -> str:
    """Where a webhook's connection leads."""
    host, path = connection.host or "", connection.schema or ""
    if "://" in host:
        return host
    is_scheme = path in {"http", "https"}
    scheme = path if is_scheme else "https" if connection.conn_type == "https" else "http"
    port = f":{connection.port}" if connection.port else ""
    return f"{scheme}://{host}{port}/{'' if is_scheme else path}"


def send(alert: AlertSettings, message: Message) -> None:
    """Send a message; returns when the recipient's server has taken it.

    Raises:
        BadConfiguration: the package for it is not installed.
        Exception: whatever the notifier raises.
    """
    # Not called as a whole: that would render the text as a template, and it quotes what others have written.
    _notifier(alert, message).notify({})


def _notifier(alert: AlertSettings, message: Message) -> BaseNotifier:
    if alert.kind == "webhook":
        return WebhookNotifier(alert.connection, message.payload)
    if alert.kind == "slack":
        require_package(alert)
        slack = import_module(f"{SLACK}.notifications.slack_webhook")
        text = f"*{message.subject}*\n{message.text}"
        notifier: BaseNotifier = slack.SlackWebhookNotifier(slack_webhook_conn_id=alert.connection, text=text)
        return notifier
    from airflow.providers.smtp.notifications.smtp import SmtpNotifier

    lines = "".join(f"<p>{html.escape(line)}</p>" for line in message.lines)
    return SmtpNotifier(to=list(alert.to), subject=message.subject, html_content=lines, smtp_conn_id=alert.connection)


def require_package(alert: AlertSettings) -> None:
    """Make sure that what the alert is sent by is installed.

    Raises:
        BadConfiguration: it is not.
    """
    if alert.kind == "slack" and find_spec(SLACK) is None:
        raise BadConfiguration(
            "collection.yaml's alerts want Slack, and apache-airflow-providers-slack is not installed.",
            hint="Install it where Airflow's tasks and its triggerer run, or take the entry out.",
        )


def require_sendable(alert: AlertSettings) -> None:
    """Make sure that package and connection of an alert are there, before anything has to be told.

    Raises:
        BadConfiguration: the package is not installed.
        AirflowNotFoundException: there is no such connection.
    """
    require_package(alert)
    BaseHook.get_connection(alert.connection)
