// The admin page: reads /info, /metrics, /clients, /slowlog, /hotkeys, /shards every two seconds, and sends commands to /v1/command.
"use strict"

const EVERY_MS = 2000
const POINTS = 150 // five minutes
const ROWS = 50
const byId = (id) => document.getElementById(id)
const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1, notation: "compact" })
let token = sessionStorage.getItem("token") ?? ""
let login = "" // of the console, as the header says it
let timer

const bearer = (secret) => (secret ? { Authorization: `Bearer ${secret}` } : {})

async function read(path) {
    const answer = await fetch(path, { headers: bearer(token) })
    if (answer.status === 401) byId("login").hidden = false
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${(await answer.text()).trim()}`)
    return answer
}

// Figures and their history

const bytes = (count) => {
    const units = ["B", "KiB", "MiB", "GiB", "TiB"]
    let at = 0
    for (; count >= 1024 && at < units.length - 1; at++) count /= 1024
    return `${count.toFixed(at && count < 100 ? 1 : 0)} ${units[at]}`
}
const micros = (us) => (us >= 1000 ? `${(us / 1000).toFixed(1)} ms` : `${us.toFixed(us < 10 ? 1 : 0)} µs`)

const history = { rate: [[]], delay: [[], [], []], room: [[], []] }
const charts = {
    rate: { names: ["commands"], say: (it) => `${number.format(it)}/s` },
    delay: { names: ["half of them", "99 %", "99.9 %"], say: micros },
    room: { names: ["data", "process"], say: bytes },
}

function remember(chart, values) {
    values.forEach((value, at) => {
        history[chart][at].push(value)
        if (history[chart][at].length > POINTS) history[chart][at].shift()
    })
    draw(chart)
}

function draw(chart) {
    const { names, say } = charts[chart]
    const lines = history[chart]
    const most = Math.max(1e-9, ...lines.flat())
    const points = (line) => line.map((value, at) => `${(at / (POINTS - 1)) * 300},${98 - (value / most) * 94}`).join(" ")
    const colors = ["var(--mark)", "var(--second)", "var(--third)"]
    const drawn = lines.map((line, at) => `<polyline points="${points(line)}" stroke="${colors[at]}"/>`).join("")
    const said = lines.map((line, at) => `${names[at]} ${say(line.at(-1) ?? 0)}`).join(", ")
    const svg = `<svg viewBox="0 0 300 100" preserveAspectRatio="none" role="img" aria-label="${said}">${drawn}</svg>`
    const legend = lines.map((line, at) => `<span style="color:${colors[at]}">●</span> ${names[at]} ${say(line.at(-1) ?? 0)}`)
    byId(chart).innerHTML = `${svg}<p class="legend">${legend.join(" &ensp; ")} &ensp; top: ${say(most)}</p>`
}

// Counts of calls by how long they took, all commands together: bound in seconds → calls.
function durations(metrics) {
    const counts = new Map()
    for (const [, le, count] of metrics.matchAll(/^varve_command_duration_seconds_bucket\{le="([^"]+)"[^}]*\} (\d+)/gm)) {
        const bound = le === "+Inf" ? Infinity : Number(le)
        counts.set(bound, (counts.get(bound) ?? 0) + Number(count))
    }
    return counts
}

// The bound below which `share` of the calls between two readings ended, microseconds.
function percentile(before, after, share) {
    const grown = [...after].sort(([a], [b]) => a - b).map(([bound, count]) => [bound, count - (before.get(bound) ?? 0)])
    const all = grown.at(-1)?.[1] ?? 0
    const found = grown.find(([, count]) => count >= all * share)
    const last = grown.filter(([bound]) => bound !== Infinity).at(-1)?.[0] ?? 0
    return all ? Math.min(found?.[0] ?? 0, last) * 1e6 : 0
}

// Text from the server is set as text, never as HTML.
function cell(row, text, kind = "") {
    const made = row.insertCell()
    made.textContent = text
    made.className = kind
}

function table(id, heads, rows) {
    const made = document.createElement("tbody")
    for (const row of rows.slice(0, ROWS)) {
        const line = made.insertRow()
        row.forEach((text, at) => cell(line, text, heads[at][1]))
    }
    const head = document.createElement("thead").appendChild(document.createElement("tr"))
    for (const [name, kind] of heads) {
        const th = document.createElement("th")
        th.scope = "col"
        th.textContent = name
        th.className = kind
        head.append(th)
    }
    byId(id).replaceChildren(head.parentNode, made)
}

function list(id, pairs) {
    byId(id).replaceChildren(...pairs.map(([name, text]) => {
        const pair = document.createElement("div")
        pair.append(document.createElement("dt"), document.createElement("dd"))
        pair.firstChild.textContent = name
        pair.lastChild.textContent = text
        return pair
    }))
}

function group(it) {
    const role = it.leads ? "leads" : it.has_leader ? "follows" : "no leader"
    return `${role}, term ${it.term}, applied ${it.applied_index} of ${it.log_index}`
}

let before
function show(info, metrics, clients, slow) {
    const { server, memory, stats, persistence, replication, cluster } = info
    const at = performance.now()
    const calls = stats.total_commands_processed
    const took = durations(metrics)
    if (before) {
        remember("rate", [Math.max(0, calls - before.calls) / ((at - before.at) / 1000)])
        remember("delay", [0.5, 0.99, 0.999].map((share) => percentile(before.took, took, share)))
    }
    remember("room", [memory.used_memory, memory.used_memory_rss])
    byId("layers").textContent = `${server.varve_version} · runtime ${server.varve_runtime}, ${server.varve_threads} threads · storage `
        + `${server.varve_storage}, ${server.varve_shards} shards · log ${persistence.aof_enabled ? "on" : "off"} · process ${server.process_id}`
    const keys = Object.values(info.keyspace).reduce((sum, db) => sum + db.keys, 0)
    const asked = stats.keyspace_hits + stats.keyspace_misses
    list("now", [
        ["clients", info.clients.connected_clients], ["blocked", info.clients.blocked_clients], ["keys", number.format(keys)],
        ["found", asked ? `${((100 * stats.keyspace_hits) / asked).toFixed(1)} %` : "–"],
        ["memory limit", memory.maxmemory ? bytes(memory.maxmemory) : "none"], ["expired", number.format(stats.expired_keys)],
        ["evicted", number.format(stats.evicted_keys)], ["errors", number.format(stats.total_error_replies)],
        ["waiting for a thread", stats.varve_runtime_queue_depth], ["up", `${Math.floor(server.uptime_in_seconds / 60)} min`],
    ])
    const linked = replication.role === "slave" ? [["master", `${replication.master_host}:${replication.master_port}`], ["link", replication.master_link_status]] : []
    list("peers", [["role", replication.role], ...linked, ["replicas", replication.connected_slaves], ["offset", replication.master_repl_offset],
        ...Object.entries(cluster).map(([name, value]) => [name.replace(/^cluster_/, "cluster: ").replaceAll("_", " "), typeof value === "object" ? group(value) : value])])
    showCommands(info, before ? Math.max(0.001, (at - before.at) / 1000) : 1)
    table("clients", [["id", "number"], ["address", ""], ["name", ""], ["user", ""], ["last command", ""], ["idle s", "number"], ["memory", "number"]],
        clients.map((it) => [it.id, it.addr, it.name, it.user, it.cmd, it.idle, bytes(Number(it["tot-mem"]))]))
    table("slow", [["when", ""], ["took", "number"], ["client", ""], ["command", "words"]],
        slow.map((it) => [new Date(it.unix_time_s * 1000).toLocaleTimeString(), micros(it.duration_us), it.client, it.arguments.join(" ")]))
    before = { at, calls, took, by: info.commandstats }
}

function showCommands(info, seconds) {
    const rows = Object.entries(info.commandstats).map(([key, it]) => {
        const name = key.replace("cmdstat_", "")
        const grown = it.calls - (before?.by?.[key]?.calls ?? 0)
        const shares = String(info.latencystats[`latency_percentiles_usec_${name}`] ?? "").matchAll(/=([\d.]+)/g)
        const [p50 = "–", p99 = "–", p999 = "–"] = [...shares].map(([, us]) => micros(Number(us)))
        return { grown, row: [name.replace("|", " "), number.format(it.calls), before ? number.format(grown / seconds) : "–", p50, p99, p999, it.failed_calls + it.rejected_calls] }
    })
    rows.sort((a, b) => b.grown - a.grown)
    const numbers = ["calls", "per second", "half within", "99 %", "99.9 %", "failed"].map((name) => [name, "number"])
    table("commands", [["command", ""], ...numbers], rows.map((it) => it.row))
}

// What HOTKEYS has found, of whoever began to track.
function showHot(hot) {
    byId("track").disabled = Boolean(hot?.is_active)
    const seconds = Math.round((hot?.duration_ms ?? 0) / 1000)
    const [state, sample] = [hot?.is_active ? "being tracked" : "tracked", hot?.sample_ratio > 1 ? `, one command of ${hot.sample_ratio}` : ""]
    byId("tracked").textContent = hot ? `${state} for ${seconds} s${sample}` : "not tracked"
    const keys = new Map()
    for (const of of ["by_us", "by_bytes"]) {
        for (const { key, spent } of hot?.[of] ?? []) keys.set(key, { ...keys.get(key), [of]: spent })
    }
    const share = (spent, all) => (all ? ` (${Math.round((100 * spent) / all)} %)` : "")
    table("hot", [["key", "words"], ["time", "number"], ["bytes", "number"]], [...keys].map(([key, it]) => [key,
        it.by_us === undefined ? "–" : micros(it.by_us) + share(it.by_us, hot.all_commands_us),
        it.by_bytes === undefined ? "–" : bytes(it.by_bytes) + share(it.by_bytes, hot.all_commands_bytes)]))
}

// How much each shard is used of late, and waited for.
function showHeat(shards) {
    const sum = (of) => shards.reduce((all, it) => all + it[of], 0)
    const [rates, all, waited] = [shards.map((it) => it.accesses_per_s), sum("accesses_per_s"), sum("lock_wait_us_per_s")]
    const most = Math.max(1e-9, ...rates)
    byId("heat").replaceChildren(...shards.map((it, at) => {
        const cell = document.createElement("i")
        cell.style.opacity = 0.08 + 0.92 * (it.accesses_per_s / most)
        cell.title = `shard ${at}: ${number.format(Math.round(it.accesses_per_s))} accesses per second, waited for ${micros(it.lock_wait_us_per_s)} of each`
        return cell
    }))
    const said = all >= 1 ? `${rates.length} shards; the busiest, ${rates.indexOf(most)}, has ${Math.round((100 * most) / all)} % of ${number.format(Math.round(all))} accesses `
        + `to keys per second; locks are waited for ${micros(waited)} of each second` : ""
    byId("heat").setAttribute("aria-label", said || "no shards yet")
    byId("heated").textContent = said
}

byId("track").addEventListener("click", async () => {
    byId("track").disabled = true
    try {
        const { text, good } = await run(["HOTKEYS", "START", "METRICS", "2", "CPU", "NET", "COUNT", "20", "DURATION", "60"])
        if (!good) throw new Error(text)
        look()
    } catch (error) {
        byId("track").disabled = false
        byId("trouble").textContent = error.message
    }
})

async function look() {
    try {
        const [info, metrics, clients, slow, hot, shards] = await Promise.all(["info", "metrics", "clients", "slowlog", "hotkeys", "shards"].map(read))
        show(await info.json(), await metrics.text(), await clients.json(), await slow.json())
        showHot(await hot.json())
        showHeat(await shards.json())
        byId("trouble").textContent = ""
        byId("login").hidden = true
    } catch (error) {
        byId("trouble").textContent = error.message
    }
    clearTimeout(timer) // a login looks at once, besides
    timer = setTimeout(look, document.hidden ? 5 * EVERY_MS : EVERY_MS)
}

// The console

const asked = []
let place = 0
let docs

// Words as redis-cli splits them: quotes keep spaces, a backslash keeps the next character.
function words(line) {
    const found = line.match(/"(?:\\.|[^"\\])*"|'[^']*'|\S+/g) ?? []
    return found.map((word) => {
        if (word.length > 1 && word.startsWith("'")) return word.slice(1, -1)
        if (word.length > 1 && word.startsWith('"')) return word.slice(1, -1).replace(/\\n/g, "\n").replace(/\\(.)/g, "$1")
        return word
    })
}

async function run(command) {
    const headers = { "Content-Type": "application/json", ...(login ? { Authorization: login } : bearer(token)) }
    const answer = await fetch("v1/command", { method: "POST", headers, body: JSON.stringify(command) })
    const said = await answer.json()
    return said.error === undefined ? { text: JSON.stringify(said.result, null, 1), good: true } : { text: said.error, good: false }
}

function say(text, kind) {
    const line = byId("said").appendChild(document.createElement("div"))
    line.textContent = text
    line.className = kind
    while (byId("said").childElementCount > 400) byId("said").firstChild.remove()
    byId("said").scrollTop = byId("said").scrollHeight
}

byId("console").addEventListener("submit", async (event) => {
    event.preventDefault()
    const line = byId("line").value.trim()
    if (!line) return
    byId("line").value = ""
    const command = words(line)
    // A request is a client of its own: what it logs in with is kept here, in the page.
    if (command[0].toUpperCase() === "AUTH" && command.length > 1) {
        const pair = command.length > 2 ? command.slice(1, 3).join(":") : `default:${command[1]}`
        login = `Basic ${btoa(String.fromCharCode(...new TextEncoder().encode(pair)))}`
        return say("AUTH: is sent with what follows", "asked")
    }
    asked.push(line)
    place = asked.length
    say(`> ${line}`, "asked")
    try {
        const { text, good } = await run(command)
        say(text, good ? "" : "error")
    } catch (error) {
        say(error.message, "error")
    }
})

byId("line").addEventListener("keydown", (event) => {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key]
    if (!step) return
    event.preventDefault()
    place = Math.min(Math.max(place + step, 0), asked.length)
    byId("line").value = asked[place] ?? ""
})

// Completion: the names of commands, and what the one that is typed takes.
byId("line").addEventListener("focus", async () => {
    if (docs) return
    docs = {}
    const { text, good } = await run(["COMMAND", "DOCS"]).catch(() => ({ good: false }))
    if (!good) return void (docs = undefined)
    docs = JSON.parse(text)
    byId("names").replaceChildren(...Object.keys(docs).sort().map((name) => new Option(name.toUpperCase())))
})

const argument = (it) => {
    const inside = it.arguments ? it.arguments.map(argument).join(it.type === "oneof" ? " | " : " ") : it.type === "pure-token" ? "" : it.name
    const text = [it.token, inside].filter(Boolean).join(" ")
    const flags = it.flags ?? []
    const more = flags.includes("multiple") ? `${text} …` : text
    return flags.includes("optional") ? `[${more}]` : more
}

byId("line").addEventListener("input", () => {
    const name = byId("line").value.trim().split(/\s+/)[0].toLowerCase()
    const found = docs?.[name]
    byId("hint").textContent = found ? `${name.toUpperCase()} ${(found.arguments ?? []).map(argument).join(" ")}: ${found.summary ?? ""}` : ""
})

byId("login").querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault()
    token = byId("login").querySelector("input").value
    sessionStorage.setItem("token", token)
    look()
})

look()
