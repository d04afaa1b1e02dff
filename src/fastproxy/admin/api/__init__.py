"""What a proxy tells of itself below `/api/v1/` of its admin address, and what it can be told there.

    model.py       what is told, as types
    operations.py  what can be asked for: the one table that serves, and that the document is made from
    openapi.py     the document
    api.py         a request's way through the table

Loaded when somebody first asks; until then a proxy pays nothing for it.
"""
