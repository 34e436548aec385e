"""How the pages of a hierarchy look: their style sheet and their icon."""

from __future__ import annotations

from typing import Final

#: A stack of planes, the upper ones smaller: a pyramid.
ICON: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24">'
    '<path d="M12 13.2 2 17.6 12 22l10-4.4z" fill="#2563eb"/>'
    '<path d="M12 7.6 4.8 10.8 12 14l7.2-3.2z" fill="#14b8a6"/>'
    '<path d="M12 2 7.6 4 12 6l4.4-2z" fill="#f59e0b"/></svg>'
)

_LABELS = "".join(
    f"body:has(#label-{number}:not(:checked)) .drawing .label-{number}{{display:none}}\n"
    for number in range(24)
)

#: For light and dark pages alike, as whoever looks has it.
STYLE: Final = f"""
:root{{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--text:#1a2330;--soft:#566173;
--line:#dde2ea;--tint:#eef2f8;--accent:#1d4fd8;--warn:#fff6e0;--warn-line:#e9c46a;
--shadow:0 1px 2px rgba(16,24,40,.06),0 4px 16px rgba(16,24,40,.06)}}
@media (prefers-color-scheme:dark){{:root{{--page:#0e1218;--card:#171d26;--text:#e6ebf2;
--soft:#9dabbd;--line:#2a3340;--tint:#1f2733;--accent:#8ab4ff;--warn:#2b2412;--warn-line:#7a6020;
--shadow:0 1px 2px rgba(0,0,0,.4),0 6px 20px rgba(0,0,0,.25)}}}}
*{{box-sizing:border-box}}
html{{-webkit-text-size-adjust:100%}}
body{{margin:0;background:var(--page);color:var(--text);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}}
a{{color:var(--accent);text-underline-offset:2px}}
:focus-visible{{outline:2px solid var(--accent);outline-offset:2px;border-radius:4px}}
.skip{{position:absolute;left:-9999px}}
.skip:focus{{left:12px;top:8px;background:var(--card);padding:6px 12px;z-index:3}}
.hidden{{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}}
header{{display:flex;align-items:center;gap:12px;padding:10px 24px;background:var(--card);
border-bottom:1px solid var(--line)}}
.mark svg{{display:block;width:26px;height:26px}}
nav ol{{display:flex;flex-wrap:wrap;gap:2px 0;list-style:none;margin:0;padding:0}}
nav li{{overflow-wrap:anywhere}}
nav li+li::before{{content:"/";color:var(--soft);padding:0 9px}}
nav a{{text-decoration:none}}
nav a:hover{{text-decoration:underline}}
main{{max-width:1560px;margin:0 auto;padding:22px 24px 48px}}
h1{{font-size:25px;line-height:1.25;font-weight:650;letter-spacing:-.01em;margin:0 0 8px;
overflow-wrap:anywhere}}
h2{{font-size:12px;font-weight:650;letter-spacing:.06em;text-transform:uppercase;
color:var(--soft);margin:0 0 10px}}
.tags{{display:flex;flex-wrap:wrap;gap:6px;margin:0 0 18px}}
.tags span{{background:var(--tint);border-radius:99px;padding:1px 11px;font-size:13px;
font-variant-numeric:tabular-nums}}
.notes{{background:var(--warn);border:1px solid var(--warn-line);border-radius:10px;
padding:8px 16px;margin:0 0 18px;font-size:14px}}
.notes ul{{margin:0;padding:0 0 0 16px;overflow-wrap:anywhere}}
.error{{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:16px 20px;
overflow-wrap:anywhere;white-space:pre-line}}
.image{{display:grid;grid-template-columns:minmax(0,1fr) minmax(320px,490px);gap:22px;
align-items:start}}
.stage{{margin:0;background:var(--card);border:1px solid var(--line);border-radius:14px;
box-shadow:var(--shadow);overflow:hidden}}
.stage.empty{{padding:48px 28px;color:var(--soft);text-align:center;overflow-wrap:anywhere}}
.drawing{{display:block;width:100%;max-height:78vh;background:#000}}
.drawing .coarse{{image-rendering:pixelated}}
.drawing .bar rect{{fill:#fff;stroke:#000;stroke-opacity:.75;stroke-width:2;paint-order:stroke}}
.drawing .bar text{{fill:#fff;font-size:26px;font-weight:600;stroke:#000;stroke-opacity:.75;
stroke-width:5;paint-order:stroke;stroke-linejoin:round}}
figcaption{{padding:9px 16px;font-size:13px;color:var(--soft);overflow-wrap:anywhere;
border-top:1px solid var(--line)}}
.panel{{display:grid;grid-template-columns:minmax(0,1fr);gap:18px;min-width:0}}
.controls,.facts,.code{{background:var(--card);border:1px solid var(--line);border-radius:14px;
box-shadow:var(--shadow);padding:16px 18px}}
.code{{margin-top:22px}}
.plane{{display:flex;flex-wrap:wrap;align-items:center;gap:6px;margin:0 0 10px}}
.plane label{{font-weight:650;min-width:22px}}
.plane input{{width:5.2em}}
.plane .most,.plane .where{{font-size:13px;color:var(--soft);font-variant-numeric:tabular-nums}}
.plane .where{{margin-left:auto}}
input[type=number],button{{font:inherit;color:inherit;background:var(--page);
border:1px solid var(--line);border-radius:8px;padding:4px 9px}}
button{{cursor:pointer;background:var(--tint)}}
button:hover:enabled{{border-color:var(--accent)}}
button:disabled{{opacity:.4;cursor:default}}
button.step{{width:34px;padding:4px 0;font-size:16px;line-height:1.3}}
button.main{{width:100%;background:var(--accent);border-color:var(--accent);color:var(--card);
font-weight:600;padding:7px}}
input[type=checkbox]{{width:16px;height:16px;margin:0;accent-color:var(--accent);flex:none}}
fieldset{{border:0;padding:0;margin:0 0 14px;min-width:0}}
fieldset:last-child{{margin:0}}
legend{{padding:0;font-size:13px;font-weight:600;color:var(--soft);margin:0 0 4px}}
fieldset ul{{list-style:none;margin:0;padding:0}}
fieldset li{{border-top:1px solid var(--line)}}
fieldset li:first-child{{border-top:0}}
fieldset li>label,fieldset li>span{{display:flex;align-items:center;gap:9px;padding:5px 0}}
fieldset li>label{{cursor:pointer}}
.swatch{{width:14px;height:14px;flex:none}}
.swatch circle{{stroke:rgba(127,127,127,.8);stroke-width:1}}
.name{{flex:1;overflow-wrap:anywhere;min-width:0}}
.color,.window,.small{{font-size:12.5px;color:var(--soft);font-variant-numeric:tabular-nums;
white-space:nowrap}}
.color{{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:12px}}
.links{{margin:4px 0 0;font-size:13px;display:flex;gap:16px;flex-wrap:wrap}}
.oz-scroll{{overflow-x:auto;margin:0 0 12px}}
.oz-scroll:last-child{{margin:0}}
table.oz-table{{border-collapse:collapse;width:100%;font-size:13px;
font-variant-numeric:tabular-nums}}
table.oz-table th,table.oz-table td{{text-align:right;padding:4px 0 4px 10px;white-space:nowrap;
border-bottom:1px solid var(--line);vertical-align:baseline}}
table.oz-table th{{color:var(--soft);font-weight:500;font-size:12px}}
table.oz-table th:first-child,table.oz-table td:first-child{{text-align:left;padding-left:0}}
table.oz-table .oz-left{{text-align:left}}
table.oz-table .oz-wrap{{white-space:normal;overflow-wrap:anywhere}}
table.oz-table tr:last-child td{{border-bottom:0}}
.oz-notes{{margin:6px 0 0;padding:0 0 0 16px;font-size:13px;overflow-wrap:anywhere}}
.oz-small{{font-size:12.5px;color:var(--soft)}}
pre{{margin:0;overflow-x:auto;font:13px/1.55 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}}
.plate{{overflow:auto;background:var(--card);border:1px solid var(--line);border-radius:14px;
box-shadow:var(--shadow);padding:12px 16px 16px 8px;max-width:max-content}}
.plate table{{border-collapse:separate;border-spacing:3px}}
.plate th{{font-size:12px;font-weight:600;color:var(--soft);padding:0 4px;
font-variant-numeric:tabular-nums}}
.plate th[scope=row]{{text-align:right}}
.plate td{{padding:0}}
.plate a,.plate img{{display:block}}
.plate img{{object-fit:contain;background:#000;color:#cfd6e0;border-radius:6px;font-size:9px;
overflow:hidden}}
.plate a{{border-radius:6px}}
.plate a:hover img,.member a:hover img{{box-shadow:0 0 0 2px var(--accent)}}
.plate .none{{display:block;border:1px dashed var(--line);border-radius:6px;width:44px;height:44px}}
.plate.large .none{{width:112px;height:112px}}
.plate.middling .none{{width:72px;height:72px}}
.plate.tiny .none{{width:22px;height:22px}}
.plate.tiny img,.plate.tiny .none,.plate.tiny a{{border-radius:3px}}
.plate.tiny table{{border-spacing:1px}}
.plate.tiny th{{font-size:10px;padding:0 1px}}
.members{{list-style:none;margin:0;padding:0;display:grid;gap:16px;
grid-template-columns:repeat(auto-fill,minmax(178px,1fr))}}
.member{{background:var(--card);border:1px solid var(--line);border-radius:14px;
box-shadow:var(--shadow);overflow:hidden}}
.member a{{display:block;color:inherit;text-decoration:none;padding:0 0 12px;height:100%}}
.member img{{display:block;width:100%;height:auto;aspect-ratio:1;object-fit:contain;
background:#000;margin:0 0 10px}}
.member strong,.member span{{display:block;padding:0 14px;overflow-wrap:anywhere}}
.member strong{{font-weight:600}}
.member span{{font-size:13px;color:var(--soft)}}
.member.broken{{padding:14px 0;border-style:dashed}}
@media (max-width:960px){{.image{{grid-template-columns:minmax(0,1fr)}}
main,header{{padding-left:14px;padding-right:14px}}}}
@media print{{header,.controls,.code{{display:none}}}}
{_LABELS}"""
