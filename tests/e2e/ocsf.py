"""Holds OCSF events, one a line on standard input, to the published schema. Ends with 77 where the schema is not there."""

import json
import sys

try:
    from jsonschema import Draft202012Validator
    from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

schemas = {}
wrong = 0
seen = set()
for line in sys.stdin:
    event = json.loads(line)
    version = event["metadata"]["version"]
    uid = event["class_uid"]
    if (version, uid) not in schemas:
        ocsf = OcsfJsonSchemaEmbedded(get_ocsf_schema(version=version))
        profiles = event["metadata"].get("profiles", [])
        schema = ocsf.get_class_schema(ocsf.lookup_class_name_from_uid(uid), profiles)
        schemas[version, uid] = Draft202012Validator(schema)
    seen.add(uid)
    for error in schemas[version, uid].iter_errors(event):
        print(f"class {uid}, {event['metadata']['event_code']}: {error.json_path}: {error.message[:120]}")
        wrong += 1
print(f"classes {sorted(seen)}, {wrong} errors")
sys.exit(1 if wrong else 0)
