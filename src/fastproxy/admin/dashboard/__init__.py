"""The dashboard: one page at `/` of the admin address, which asks the API for all that it shows.

    files.py     hands out the page and what it loads
    index.html   the page: its landmarks, and nothing that changes
    assets/      what it loads: style sheets, modules of JavaScript, one per concern (`main.js` wires them);
                 in `vendor/` libraries of others, as they were published, with their licences

The files are read when a browser asks for them, and not kept: a proxy that nobody looks at holds none of it.
They tell nothing of the proxy, so whoever reaches the address may have them; what they show is the API's, and
is judged there (`admin.access`).
"""
