// The page as it is seen. All text is set as text: names come from files and are never markup.

function h(tag, attributes = {}, ...children) {
  const svg = ["svg", "polyline"].includes(tag)
  const el = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) el.addEventListener(name.slice(2), value)
    else if (value === true) el.setAttribute(name, "")
    else if (value !== false && value != null) el.setAttribute(name, value)
  }
  el.append(...children.filter(child => child != null))
  return el
}

const count = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`

function base64(buffer) {
  const bytes = new Uint8Array(buffer)
  let text = ""
  for (let i = 0; i < bytes.length; i += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(i, i + 0x8000))
  }
  return btoa(text)
}

// Bokeh's tools are plain boxes: say what they are, and show which one has the focus.
const focus = new CSSStyleSheet()
focus.replaceSync(":focus-visible { outline: 3px solid #b3490b !important; outline-offset: -3px; }")
const tools = [".bk-OnOffButton", ".bk-ClickButton", ".bk-tool-overflow"].join()

function name_tools(root) {
  for (const tool of root.querySelectorAll(tools)) {
    tool.setAttribute("role", "button")
    tool.setAttribute("aria-label", tool.title || "More tools")
    if (tool.matches(".bk-OnOffButton")) tool.setAttribute("aria-pressed", String(tool.matches(".bk-active")))
  }
  // The frame around a chart is what takes keys, if anything does.
  for (const layer of root.querySelectorAll(".bk-events[tabindex='0']")) layer.tabIndex = -1
}

function name_charts(element, watch) {
  for (const one of element.querySelectorAll("*")) {
    const root = one.shadowRoot
    if (!root) continue
    if (!root.adoptedStyleSheets.includes(focus)) {
      root.adoptedStyleSheets = [...root.adoptedStyleSheets, focus]
      watch(root)
    }
    name_tools(root)
    name_charts(root, watch)
  }
}

export function render({model, view}) {
  const about = model.about
  const send = message => {
    status.setAttribute("aria-busy", "true")
    model.send_msg(message)
  }
  let addressing
  let replacing = true  // the address, which the page came by or went back to

  // The parts that stay.
  const status = h("p", {class: "status", role: "status", "aria-live": "polite"})
  const find = h("input", {id: "find", type: "text", autocomplete: "off", spellcheck: "false",
                           placeholder: "object_id, or 150.1 2.2"})
  const where = h("input", {id: "where", type: "text", autocomplete: "off", spellcheck: "false",
                            placeholder: "0.1 < z AND z < 0.3", "aria-describedby": "where-help"})
  const map_of = h("select", {id: "map-of"}, ...about.maps.map(one => h("option", {value: one}, `${one} vectors`)))
  const colour = h("select", {id: "colour"}, h("option", {value: ""}, "number of objects"),
    ...about.columns.map(one => h("option", {value: one.name, title: one.description || null}, one.name)))
  const fixed = h("input", {id: "fixed", type: "checkbox"})
  const file = h("input", {id: "file", type: "file", accept: ".fits,.fit,.fts"})
  const selection = h("p", {class: "selection"})
  const clear = h("button", {type: "button", hidden: true, onclick: () => send({do: "clear"})}, "Clear the outline")
  const legend = h("div", {class: "legend"})
  const title = h("h2", {tabindex: "-1"}, "No object yet")
  const looked = h("div", {class: "looked"})
  const spectrum = h("div", {class: "spectrum", hidden: true, role: "group", "aria-label": "Spectrum"})
  const predictions = h("div", {class: "predictions"})
  const columns = h("details", {hidden: true})
  const lists = h("div", {class: "lists"})
  const copy = h("button", {type: "button", onclick: copy_link}, "Copy link")
  const map_frame = h("div", {class: "map", tabindex: "0", role: "group", "aria-describedby": "map-help",
    "aria-label": "Map of the embedding space", onkeydown: on_key})
  const sky_frame = h("div", {class: "sky", role: "group", "aria-label": "Sky"})

  const table_buttons = what => [
    h("button", {type: "button", onclick: () => send({do: "table", what})}, "VOTable"),
    about.samp ? h("button", {type: "button", onclick: () => send({do: "table", what, send: true})}, "Send by SAMP") : null,
  ]
  const field = (id, text, input, ...more) => h("div", {class: "field"}, h("label", {for: id}, text), input, ...more)
  const asking = (act, ...children) => h("form", {
    onsubmit: event => { event.preventDefault(); act() },
    // In a notebook Enter does not submit a form.
    onkeydown: event => { if (event.key === "Enter" && event.target.tagName === "INPUT") { event.preventDefault(); act() } },
  }, ...children)
  const drop = h("div", {class: "drop"},
    h("label", {for: "file"}, "A FITS file: spectrum or cutout"), file,
    h("p", {class: "help"}, `Or drop it on the page; up to ${Math.floor(about.largest / 1e6)} MB.`))

  const near = h("section", {class: "neighbours", "aria-label": "Neighbours", hidden: true},
    h("h2", {}, "Neighbours"), h("div", {class: "buttons"}, ...table_buttons("neighbours")), lists)

  const page = h("div", {class: "explorer", role: about.served ? "main" : null},
    h("div", {class: "top"},
      h("h1", {}, about.name),
      h("p", {}, `${count(about.objects, "object")}, embedded with ${about.model}`),
      h("div", {class: "buttons"}, about.served ? copy : null)),
    h("section", {class: "ask", "aria-label": "Search and filters"},
      asking(() => send({do: "find", text: find.value}),
        field("find", "Object or position", h("div", {class: "row"}, find, h("button", {}, "Find")))),
      drop,
      asking(() => send({do: "view", where: where.value}),
        field("where", "Only objects with", h("div", {class: "row"}, where, h("button", {}, "Filter")),
          h("p", {class: "help", id: "where-help"}, "A condition on columns; empty for all."))),
      h("div", {class: "check"}, fixed, h("label", {for: "fixed"}, "Neighbours at fixed redshift")),
      field("map-of", "Map of", map_of),
      field("colour", "Colour by", colour),
      h("h2", {}, "Selection"),
      selection, clear, h("div", {class: "buttons"}, ...table_buttons("selection")),
      status),
    h("section", {class: "space", "aria-label": "Map and sky"},
      h("h2", {}, "Embedding space"), legend, map_frame,
      h("p", {class: "help", id: "map-help"},
        "Click a point, or outline some with the lasso. Keys: arrows move, + and − zoom, 0 shows all. Its axes have no meaning."),
      h("h2", {}, "Sky"), sky_frame),
    h("section", {class: "object", "aria-label": "Object"}, title, looked, spectrum, predictions, columns),
    near)

  map_frame.append(model.get_child("map"))
  sky_frame.append(model.get_child("sky"))
  spectrum.append(model.get_child("spectrum"))

  map_of.addEventListener("change", () => send({do: "view", map: map_of.value}))
  colour.addEventListener("change", () => send({do: "view", colour: colour.value}))
  fixed.addEventListener("change", () => send({do: "view", fixed: fixed.checked}))
  file.addEventListener("change", () => { if (file.files.length) upload(file.files[0]) })
  // Anywhere: beside the page's own place for it, the browser would leave the page for the file.
  const has_file = event => event.dataTransfer.types.includes("Files")
  page.addEventListener("dragover", event => {
    if (!has_file(event)) return
    event.preventDefault()
    drop.classList.add("over")
  })
  page.addEventListener("dragleave", event => { if (!page.contains(event.relatedTarget)) drop.classList.remove("over") })
  page.addEventListener("drop", event => {
    if (!has_file(event)) return
    event.preventDefault()
    drop.classList.remove("over")
    upload(event.dataTransfer.files[0])
  })

  function say(text, error = false) {
    status.textContent = text
    status.classList.toggle("error", error)
    status.setAttribute("aria-busy", "false")
  }

  // The buttons that were pressed go: what is read and tabbed on from is the object.
  function open(object) {
    title.focus()
    send({do: "open", object})
  }

  async function upload(one) {
    if (one.size > about.largest) {
      say(`${one.name} has ${(one.size / 1e6).toFixed(1)} MB: expected up to ${Math.floor(about.largest / 1e6)} MB`, true)
    } else {
      try {
        send({do: "file", name: one.name, content: base64(await one.arrayBuffer())})
      } catch {  // a folder, or it is gone
        say(`${one.name} cannot be read: expected a file`, true)
      }
    }
    file.value = ""
  }

  async function copy_link() {
    try {
      await navigator.clipboard.writeText(location.href)
      say("The link is in the clipboard.")
    } catch {  // browsers may refuse it, and do where there is no encryption
      say("The browser does not let the page copy: the link is the page's address.", true)
    }
  }

  function on_key(event) {
    const moves = {
      ArrowLeft: {x: -1}, ArrowRight: {x: 1}, ArrowUp: {y: 1}, ArrowDown: {y: -1},
      "+": {zoom: 1}, "=": {zoom: 1}, "-": {zoom: -1},
    }
    const chart = event.composedPath()[0]
    const ours = chart === map_frame || chart.matches(".bk-events")
    if (!ours || event.ctrlKey || event.metaKey || event.altKey) return
    if (event.key === "0") send({do: "whole"})
    else if (moves[event.key]) send({do: "move", ...moves[event.key]})
    else return
    event.preventDefault()
  }

  page.addEventListener("keydown", event => {  // Bokeh's tools know Enter only
    const tool = event.composedPath()[0]
    if (event.key !== " " || !tool.matches(tools)) return
    event.preventDefault()
    tool.dispatchEvent(new KeyboardEvent("keydown", {key: "Enter"}))
  })

  // The parts that follow the view.
  function show_form() {
    const form = model.form
    map_of.value = form.map
    colour.value = form.colour
    if (form.new) where.value = form.where  // else somebody may be writing, or correct it
    fixed.checked = form.fixed
    clear.hidden = !form.outlined
    selection.textContent = `${count(form.selected, "object")} of ${form.passing.toLocaleString("en")}` +
      (form.unplaced ? `; ${count(form.unplaced, "object")} not on the map yet` : "")
    show_legend(form.legend)
    say(form.error || form.note, Boolean(form.error))
    status.setAttribute("aria-busy", String(form.busy))
    page.dataset.milliseconds = form.milliseconds
    page.dataset.query = form.query
    page.dataset.answer = form.answer
    clearTimeout(addressing)
    if (form.new) show_address(replacing ? "replaceState" : "pushState")
    else addressing = setTimeout(show_address, 250, "replaceState")  // browsers take only so many
    if (form.new || form.error) replacing = false
  }

  function show_address(how) {
    const query = model.form.query
    if (about.served && location.search.slice(1) !== query) history[how](null, "", query ? `?${query}` : location.pathname)
  }

  function show_legend(shown) {
    const parts = [h("span", {class: "what"}, shown.label)]
    if (shown.classes) {
      for (const [name, paint] of shown.classes) {
        const swatch = h("span", {class: "swatch"})
        swatch.style.background = paint
        parts.push(h("span", {class: "class"}, swatch, name))
      }
    } else {
      const bar = h("span", {class: "bar"})
      bar.style.background = `linear-gradient(to right, ${about.gradient.join(", ")})`
      const [low, high] = shown.limits || ["few", "many"]
      parts.push(low, bar, high)
    }
    legend.replaceChildren(...parts)
  }

  function table_of(caption, header, rows) {
    return h("div", {class: "table"}, h("table", {}, caption ? h("caption", {}, caption) : null,
      h("thead", {}, h("tr", {}, ...header.map(one => h("th", {scope: "col"}, one)))),
      h("tbody", {}, ...rows.map(([first, ...others]) =>
        h("tr", {}, h("th", {scope: "row"}, first), ...others.map(one => h("td", {}, one)))))))
  }

  function show_object() {
    const shown = model.shown
    predictions.replaceChildren()
    spectrum.hidden = !shown.spectrum
    near.hidden = !shown.title
    columns.hidden = !(shown.values || []).length
    title.textContent = shown.title || "No object yet"
    if (about.served) document.title = [shown.title, about.name, "astroclip"].filter(Boolean).join(" · ")
    if (!shown.title) {
      looked.replaceChildren(h("p", {class: "help"}, "Click a point, type an object_id or a position, or drop a file."))
      return
    }
    const redshift = shown.redshift == null ? "redshift unknown" : `z = ${shown.redshift}`
    const parts = [h("p", {class: "redshift"}, redshift)]
    if (shown.picture) {
      const half = shown.side / 2
      const overlay = h("canvas", {class: "attention", width: "0", height: "0"})
      const toggle = h("input", {type: "checkbox", id: "attention", onchange: () => { overlay.hidden = !toggle.checked }})
      overlay.hidden = true
      parts.push(h("figure", {},
        h("div", {class: "frame"}, h("img", {src: shown.picture, alt: `Picture of ${shown.title}`}), overlay),
        h("figcaption", {}, `${shown.side.toFixed(0)}″ on a side, north up, east left`)),
        h("div", {class: "check", hidden: true}, toggle, h("label", {for: "attention"}, "Attention of the model")))
    }
    for (const reason of shown.reasons) parts.push(h("p", {class: "help"}, reason))
    if (!shown.picture && !shown.spectrum && !shown.reasons.length) {
      parts.push(h("p", {class: "help"}, shown.dropped ? "The link has the vector of a dropped file, but not the file." : "There is no picture of it."))
    }
    if (shown.values.length) {
      columns.replaceChildren(h("summary", {}, "Columns of the catalog"),
        table_of("", ["column", "value", "unit"], shown.values.map(one => [one.name, one.text || "—", one.unit])))
    }
    looked.replaceChildren(...parts)
  }

  // A value of the catalog beside a prediction, with its unit where that is another.
  function own(value, unit) {
    if (!value) return "—"
    return value.unit === unit || value.text === "unknown" ? value.text : `${value.text} ${value.unit || "(no unit)"}`
  }

  function show_details() {
    const found = model.details
    if (found.turn !== model.shown.turn || !found.predictions) return
    const from = about.maps.filter(one => found.predictions.some(row => row[one]))
    if (from.length) {
      const known = new Map(model.shown.values.map(one => [one.name, one]))
      predictions.replaceChildren(table_of("Predicted, with 68 % intervals",
        ["property", ...from.map(one => `from ${one}`), "catalog"],
        found.predictions.map(row => [row.name, ...from.map(one => row[one] || "—"), own(known.get(row.column), row.unit)])))
    }
    const overlay = looked.querySelector(".attention")
    if (overlay && found.attention) {
      const weight = found.attention.weight
      looked.querySelector(".check").hidden = false
      overlay.width = weight[0].length
      overlay.height = weight.length
      const size = 100 * found.attention.side / model.shown.side
      Object.assign(overlay.style, {width: `${size}%`, height: `${size}%`, left: `${(100 - size) / 2}%`, top: `${(100 - size) / 2}%`})
      const pen = overlay.getContext("2d")
      weight.forEach((row, y) => row.forEach((value, x) => {
        pen.fillStyle = `rgba(230, 159, 0, ${0.85 * value})`
        pen.fillRect(x, y, 1, 1)
      }))
    }
    page.dataset.details = found.turn
  }

  function show_lists() {
    lists.replaceChildren(...model.lists.map(one => {
      const rows = one.rows.map(row => h("li", {},
        h("button", {type: "button", class: "card", "data-object": row.object, onclick: () => open(row.object)},
          h("span", {class: "thumb", "data-of": `${one.modality} ${row.object}`}),
          h("span", {class: "name"}, row.object),
          h("span", {class: "numbers"}, h("span", {}, `score ${row.score}`), h("span", {}, row.offset)))))
      return h("section", {class: "list", "data-pair": one.title, "aria-label": `Neighbours, ${one.title}`},
        h("h3", {}, one.title), one.reason ? h("p", {class: "help"}, one.reason) : null, h("ol", {}, ...rows))
    }))
    show_thumbs()
    const wanted = model.lists.flatMap(one => one.rows.map(row => ({object: row.object, modality: one.modality})))
      .filter(one => !(`${one.modality} ${one.object}` in model.thumbs))
    if (wanted.length) model.send_msg({do: "thumbs", wanted})
  }

  function show_thumbs() {
    for (const place of lists.querySelectorAll(".thumb")) {
      const found = model.thumbs[place.dataset.of]
      if (!found) continue
      if (found.picture) place.replaceChildren(h("img", {src: found.picture, alt: ""}))
      else place.replaceChildren(h("svg", {viewBox: "0 -0.05 1 1.1", preserveAspectRatio: "none", "aria-hidden": "true"},
        h("polyline", {points: found.points.map(at => at.join(",")).join(" ")})))
    }
  }

  const followed = {form: show_form, shown: show_object, lists: show_lists, details: show_details, thumbs: show_thumbs}
  for (const [name, show] of Object.entries(followed)) model.on(name, show)
  model.on("msg:custom", event => {
    const bytes = Uint8Array.from(atob(event.content), one => one.charCodeAt(0))
    const link = h("a", {href: URL.createObjectURL(new Blob([bytes], {type: "application/x-votable+xml"})), download: event.name})
    link.click()
    setTimeout(() => URL.revokeObjectURL(link.href), 10000)
  })
  const back = () => {
    replacing = true
    send({do: "link", query: location.search.slice(1)})
  }
  if (about.served) {
    view.model.document?.on_event("connection_lost", () =>
      say("The connection is lost: load the page again, when it is served again.", true))
    window.addEventListener("popstate", back)
    document.documentElement.lang = "en"
  }
  const observer = new MutationObserver(changes => {
    for (const root of new Set(changes.map(change => change.target.getRootNode()))) {
      name_tools(root)
      name_charts(root, watch)
    }
  })
  const watch = root => observer.observe(root, {subtree: true, childList: true, attributeFilter: ["class"]})
  const name_all = () => { for (const frame of [map_frame, sky_frame, spectrum]) name_charts(frame, watch) }
  model.on("after_layout", name_all)
  model.send_msg({do: "ready"})
  model.on("remove", () => {
    observer.disconnect()
    window.removeEventListener("popstate", back)
  })
  for (const show of Object.values(followed)) show()
  // Keys pressed on the page are not meant for the notebook that it is in.
  page.addEventListener("focusin", () => {
    for (let root = page.getRootNode(); root.host; root = root.host.getRootNode()) {
      root.host.dataset.lmSuppressShortcuts = "true"
    }
  })
  page.dataset.ready = "true"
  return page
}
