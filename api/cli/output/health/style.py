"""Style of a health report's page: light, dark, narrow and printed."""

# Colours of the two series are Okabe and Ito's (Color Universal Design, 2008), which colour-blind people tell apart.
STYLE = """
:root { --page: #fff; --text: #1a1a1a; --faint: #595959; --line: #d0d0d0; --panel: #f6f6f6; --own: #0072b2; --control: #b34700; --link: #0057a3 }
@media (prefers-color-scheme: dark) {
  :root { --page: #161616; --text: #ededed; --faint: #b0b0b0; --line: #444; --panel: #212121; --own: #56b4e9; --control: #e69f00; --link: #7fc4ff }
}
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--text); font: 16px/1.5 system-ui, sans-serif }
main { max-width: 72rem; margin: 0 auto; padding: 1rem }
h1 { font-size: 1.6rem; line-height: 1.2; overflow-wrap: anywhere }
h3 { margin: 1.5rem 0 0; font-size: 1.05rem }
h2 { margin: 2.5rem 0 .25rem; padding-top: .5rem; border-top: 2px solid var(--line); font-size: 1.25rem }
p { max-width: 50rem; margin: .5rem 0 }
a { color: var(--link) }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px }
.says { font-size: 1.05rem }
.definition, .why { color: var(--faint); font-size: .85rem }
.note { display: block; min-width: 10rem }
.note .why { display: block }
dl.facts { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: 0; font-size: .9rem }
dl.facts dd { margin: 0; overflow-wrap: anywhere }
dt { color: var(--faint) }
dl.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .75rem; margin: 1rem 0 }
dl.tiles div { padding: .75rem; border: 1px solid var(--line); border-radius: .4rem; background: var(--panel) }
dl.tiles dt { font-weight: 600; color: var(--text) }
dl.tiles dd { margin: 0; font-size: .85rem }
dl.tiles dd.value { font-size: 1.6rem; font-variant-numeric: tabular-nums }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; padding: 0; list-style: none }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(26rem, 100%), 1fr)); gap: 0 1.5rem; align-items: start }
figure { max-width: 36rem; margin: 1.25rem 0 }
figcaption { margin-bottom: .25rem; font-size: .9rem }
svg { display: block; width: 100%; height: auto; font: 13px system-ui, sans-serif }
svg text { fill: var(--text) }
svg .tick, svg .faint { fill: var(--faint) }
svg .grid { stroke: var(--line); stroke-width: 1 }
svg .axis { stroke: var(--faint); stroke-width: 1 }
svg .bar { stroke-width: 1 }
svg .s0 { fill: var(--own); stroke: var(--own) }
svg .s1 { fill: var(--page); stroke: var(--control); stroke-width: 1.5 }
svg .whisker { stroke-width: 2 }
svg .whisker:not(.s0):not(.s1), svg .median { stroke: var(--text); stroke-width: 2 }
.wide { overflow-x: auto; margin: 1rem 0 }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums }
caption { padding: .25rem 0; font-weight: 600; text-align: left }
th, td { padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top }
th[scope=row] { font-weight: 500 }
table { min-width: min(22rem, 100%) }
td, th { max-width: 34rem; overflow-wrap: break-word }
details { margin: .5rem 0 }
summary { cursor: pointer; color: var(--link) }
#all td { overflow-wrap: anywhere }
@media (max-width: 40rem) { main { padding: .6rem } th, td { padding-right: .6rem } svg { font-size: 14px } }
@media print {
  :root { --page: #fff; --text: #000; --faint: #444; --line: #bbb; --panel: #fff; --own: #0072b2; --control: #b34700; --link: #000 }
  main { max-width: none; padding: 0 }
  body { font-size: 11px }
  nav, #all, details:not([open]) { display: none }
  .wide { overflow: visible }
  figure, tr, dl.tiles div { break-inside: avoid }
  h2, caption, thead, .says { break-after: avoid }
  * { print-color-adjust: exact }
}
"""
