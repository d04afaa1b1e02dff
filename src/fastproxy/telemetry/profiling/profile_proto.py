"""The messages of pprof's format, `proto/profile.proto` of github.com/google/pprof.

Their fields stand here as a table, and become message classes when this is imported: what a compiler would
generate is tied to versions of its runtime. Fields that nobody here writes (breakdowns, the ends of mappings)
are left out; a reader skips what it doesn't know.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

_PACKAGE = "perftools.profiles"
_SCALARS = {
    "int64": FieldDescriptorProto.TYPE_INT64,
    "uint64": FieldDescriptorProto.TYPE_UINT64,
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "string": FieldDescriptorProto.TYPE_STRING,
}

_MESSAGES = {
    "Profile": """
        1 sample_type ValueType*, 2 sample Sample*, 3 mapping Mapping*, 4 location Location*,
        5 function Function*, 6 string_table string*, 9 time_nanos int64, 10 duration_nanos int64,
        11 period_type ValueType, 12 period int64, 13 comment int64*, 14 default_sample_type int64""",
    "ValueType": "1 type int64, 2 unit int64",
    "Sample": "1 location_id uint64*, 2 value int64*, 3 label Label*",
    "Label": "1 key int64, 2 str int64",
    "Mapping": """
        1 id uint64, 5 filename int64, 7 has_functions bool, 8 has_filenames bool, 9 has_line_numbers bool""",
    "Location": "1 id uint64, 2 mapping_id uint64, 4 line Line*",
    "Line": "1 function_id uint64, 2 line int64",
    "Function": "1 id uint64, 2 name int64, 3 system_name int64, 4 filename int64, 5 start_line int64",
}
"""Number, name and type of each field; a star for those that may be repeated."""


def _file() -> FileDescriptorProto:
    file = FileDescriptorProto(name="profile.proto", package=_PACKAGE, syntax="proto3")
    for message_name, fields in _MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for described in fields.split(","):
            number, name, kind = described.split()
            label = (
                FieldDescriptorProto.LABEL_REPEATED
                if kind.endswith("*")
                else FieldDescriptorProto.LABEL_OPTIONAL
            )
            field = message.field.add(name=name, number=int(number), label=label)
            kind = kind.removesuffix("*")
            if kind in _SCALARS:
                field.type = _SCALARS[kind]
            else:
                field.type = FieldDescriptorProto.TYPE_MESSAGE
                field.type_name = f".{_PACKAGE}.{kind}"
    return file


_POOL = DescriptorPool()
_POOL.Add(_file())

ProfileMessage: Any = GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.Profile"))
"""The class of a whole profile; the others are made by its fields."""
