//! The rows of the geospatial commands.

use super::query;
use engine::command::{Flag::*, Group, SPEC, Spec, key, keyword_keys};

const RADIUS_COMPLEXITY: &str = "O(N+log(M)) where N is the number of elements inside the bounding box of the circular area delimited by center and radius and M is the number of items inside the index.";

const SEARCH_COMPLEXITY: &str = "O(N+log(M)) where N is the number of elements in the grid-aligned bounding box area around the shape provided as the filter and M is the number of items inside the shape";

const UPPERCASE_UNITS: (&str, &str) = ("7.0.0", "Added support for uppercase unit names.");
const ANY: (&str, &str) = ("6.2.0", "Added the `ANY` option for `COUNT`.");

/// The family's rows.
pub const COMMANDS: &[Spec] = &[
    Spec {
        name: "geoadd",
        summary: "Adds one or more members to a geospatial index. The key is created if it doesn't exist.",
        since: "3.2.0",
        complexity: "O(log(N)) for each item added, where N is the number of elements in the sorted set.",
        arity: -5,
        group: Group::Geo,
        flags: &[Write, DenyOom],
        keys: &[key("RW UPDATE", 1)],
        syntax: "key [NX|XX] @6.2.0 change: [CH] @6.2.0 longitude latitude member [longitude latitude member ...]",
        history: &[("6.2.0", "Added the `CH`, `NX` and `XX` options.")],
        handler: super::geoadd,
        ..SPEC
    },
    Spec {
        name: "geodist",
        summary: "Returns the distance between two members of a geospatial index.",
        since: "3.2.0",
        complexity: "O(1)",
        quick: true,
        arity: -4,
        group: Group::Geo,
        flags: &[Readonly],
        keys: &[key("RO ACCESS", 1)],
        syntax: "key member1 member2 [M|KM|FT|MI]",
        handler: super::geodist,
        ..SPEC
    },
    Spec {
        name: "geohash",
        summary: "Returns members from a geospatial index as geohash strings.",
        since: "3.2.0",
        complexity: "O(1) for each member requested.",
        arity: -2,
        group: Group::Geo,
        flags: &[Readonly],
        keys: &[key("RO ACCESS", 1)],
        syntax: "key [member [member ...]]",
        handler: super::geohash,
        ..SPEC
    },
    Spec {
        name: "geopos",
        summary: "Returns the longitude and latitude of members from a geospatial index.",
        since: "3.2.0",
        complexity: "O(1) for each member requested.",
        arity: -2,
        group: Group::Geo,
        flags: &[Readonly],
        keys: &[key("RO ACCESS", 1)],
        syntax: "key [member [member ...]]",
        handler: super::geopos,
        ..SPEC
    },
    Spec {
        name: "georadius",
        summary: "Queries a geospatial index for members within a distance from a coordinate, optionally stores the result.",
        since: "3.2.0",
        complexity: RADIUS_COMPLEXITY,
        arity: -6,
        group: Group::Geo,
        flags: &[Write, DenyOom, MovableKeys],
        keys: &[
            key("RO ACCESS", 1),
            keyword_keys("OW UPDATE", "STORE", 6, 0, 0),
            keyword_keys("OW UPDATE", "STOREDIST", 6, 0, 0),
        ],
        syntax: "key longitude latitude radius <M|KM|FT|MI> [WITHCOORD] [WITHDIST] [WITHHASH] count-block: [COUNT count [ANY] @6.2.0] [ASC|DESC] store: [storekey: STORE key|storedistkey: STOREDIST key]",
        history: &[ANY, UPPERCASE_UNITS],
        deprecated: Some((
            "6.2.0",
            "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument",
        )),
        find_keys: Some(query::radius_keys),
        handler: super::georadius,
        ..SPEC
    },
    Spec {
        name: "georadius_ro",
        summary: "Returns members from a geospatial index that are within a distance from a coordinate.",
        since: "3.2.10",
        complexity: RADIUS_COMPLEXITY,
        arity: -6,
        group: Group::Geo,
        flags: &[Readonly],
        keys: &[key("RO ACCESS", 1)],
        syntax: "key longitude latitude radius <M|KM|FT|MI> [WITHCOORD] [WITHDIST] [WITHHASH] count-block: [COUNT count [ANY] @6.2.0] [ASC|DESC]",
        history: &[ANY],
        deprecated: Some(("6.2.0", "`GEOSEARCH` with the `BYRADIUS` argument")),
        handler: super::georadius_ro,
        ..SPEC
    },
    Spec {
        name: "georadiusbymember",
        summary: "Queries a geospatial index for members within a distance from a member, optionally stores the result.",
        since: "3.2.0",
        complexity: RADIUS_COMPLEXITY,
        arity: -5,
        group: Group::Geo,
        flags: &[Write, DenyOom, MovableKeys],
        keys: &[
            key("RO ACCESS", 1),
            keyword_keys("OW UPDATE", "STORE", 5, 0, 0),
            keyword_keys("OW UPDATE", "STOREDIST", 5, 0, 0),
        ],
        syntax: "key member radius <M|KM|FT|MI> [WITHCOORD] [WITHDIST] [WITHHASH] count-block: [COUNT count [ANY]] [ASC|DESC] store: [storekey: STORE key|storedistkey: STOREDIST key]",
        history: &[ANY, UPPERCASE_UNITS],
        deprecated: Some((
            "6.2.0",
            "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` arguments",
        )),
        find_keys: Some(query::radius_by_member_keys),
        handler: super::georadiusbymember,
        ..SPEC
    },
    Spec {
        name: "georadiusbymember_ro",
        summary: "Returns members from a geospatial index that are within a distance from a member.",
        since: "3.2.10",
        complexity: RADIUS_COMPLEXITY,
        arity: -5,
        group: Group::Geo,
        flags: &[Readonly],
        keys: &[key("RO ACCESS", 1)],
        syntax: "key member radius <M|KM|FT|MI> [WITHCOORD] [WITHDIST] [WITHHASH] count-block: [COUNT count [ANY]] [ASC|DESC]",
        deprecated: Some(("6.2.0", "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments")),
        handler: super::georadiusbymember_ro,
        ..SPEC
    },
    Spec {
        name: "geosearch",
        summary: "Queries a geospatial index for members inside an area of a box or a circle.",
        since: "6.2.0",
        complexity: SEARCH_COMPLEXITY,
        arity: -7,
        group: Group::Geo,
        flags: &[Readonly],
        keys: &[key("RO ACCESS", 1)],
        syntax: "key from: <FROMMEMBER member|FROMLONLAT <longitude latitude>> by: <circle: <BYRADIUS radius <M|KM|FT|MI>>|box: <BYBOX width height <M|KM|FT|MI>>> [ASC|DESC] count-block: [COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]",
        history: &[UPPERCASE_UNITS],
        handler: super::geosearch,
        ..SPEC
    },
    Spec {
        name: "geosearchstore",
        summary: "Queries a geospatial index for members inside an area of a box or a circle, optionally stores the result.",
        since: "6.2.0",
        complexity: SEARCH_COMPLEXITY,
        arity: -8,
        group: Group::Geo,
        flags: &[Write, DenyOom],
        keys: &[key("OW UPDATE", 1), key("RO ACCESS", 2)],
        syntax: "destination source from: <FROMMEMBER member|FROMLONLAT <longitude latitude>> by: <circle: <BYRADIUS radius <M|KM|FT|MI>>|box: <BYBOX width height <M|KM|FT|MI>>> [ASC|DESC] count-block: [COUNT count [ANY]] [STOREDIST]",
        history: &[UPPERCASE_UNITS],
        handler: super::geosearchstore,
        ..SPEC
    },
];
