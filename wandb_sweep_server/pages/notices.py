"""The few words that pages say without a script: how to get in, and that the way is open."""

from __future__ import annotations

from html import escape

_FRAME = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
{head}<title>{title}</title>
<style>body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 38rem; margin: 4rem auto; padding: 0 1rem }}</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""
_HOW = """<p>In a shell on a machine that sees the sweep's directory, type</p>
<pre>hydra-sweep open DIR</pre>
<p>and open the link that it prints. It works once, within 10 minutes, and lets this browser in for 30 days.</p>"""


def login_needed() -> str:
    """For visitors without a cookie."""
    return _FRAME.format(head="", title="This page needs a link", body=_HOW)


def link_is_used() -> str:
    """For visitors with a link that works no more."""
    why = "<p>It was opened before, is older than 10 minutes, or the server was started anew since.</p>"
    return _FRAME.format(head="", title="This link works no more", body=f"{why}{_HOW}")


def go_on(path: str) -> str:
    """For visitors who have just got a cookie: takes them to a path of this server.

    As a page, not as a redirect: if the link was clicked in another site (a terminal in a browser), browsers leave
    out a SameSite=Strict cookie on redirects, but not on what this page itself asks for.
    """
    target = escape(path, quote=True)
    head = f'<meta http-equiv="refresh" content="0; url={target}">\n'
    return _FRAME.format(head=head, title="You are in", body=f'<p><a href="{target}">Go on</a></p>')
