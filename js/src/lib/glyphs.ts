// Tokens are untrusted text. Characters that would be invisible, or that would reorder what stands around
// them, are shown as glyphs. Python has the same rules (inversescope_nb/_glyphs.py); both are tested on test/glyphs.json.

export interface Piece {
  text: string;
  glyph: boolean;
}

const NAMED: Record<string, string> = {
  "\n": "\u23ce", // return symbol
  "\r": "\u240d",
  "\t": "\u21e5",
  "\u007f": "\u2421",
  "\u00a0": "\u237d", // open box, for a no-break space
  "\u00ad": "SHY",
  "\u061c": "ALM",
  "\u180e": "MVS",
  "\u200b": "ZWSP",
  "\u200c": "ZWNJ",
  "\u200d": "ZWJ",
  "\u200e": "LRM",
  "\u200f": "RLM",
  "\u2028": "LSEP",
  "\u2029": "PSEP",
  "\u202a": "LRE",
  "\u202b": "RLE",
  "\u202c": "PDF",
  "\u202d": "LRO",
  "\u202e": "RLO",
  "\u2060": "WJ",
  "\u2066": "LRI",
  "\u2067": "RLI",
  "\u2068": "FSI",
  "\u2069": "PDI",
  "\ufeff": "BOM",
  "\ufffd": "bytes", // what a decoder puts for bytes that are no character on their own
};

const SPACE = "\u00b7";
const BLANK = /[\u115f\u1160\u2000-\u200a\u202f\u205f\u2800\u3000\u3164\uffa0]/u;
const MARK = /^\p{M}/u;

function glyphOf(character: string, edge: boolean): string | null {
  // A space inside a token is plain; one at its edge is what tells " the" from "the".
  if (character === " ") return edge ? SPACE : null;
  const named = NAMED[character];
  if (named !== undefined) return named;
  const code = character.codePointAt(0)!;
  if ((code >= 0x2061 && code <= 0x2064) || (code >= 0x206a && code <= 0x206f) || (code >= 0xe0100 && code <= 0xe01ef)) return `U+${code.toString(16).toUpperCase()}`;
  if (code >= 0xfe00 && code <= 0xfe0f) return `VS${code - 0xfe00 + 1}`;
  if (BLANK.test(character)) return `U+${code.toString(16).toUpperCase()}`;
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  if ((code >= 0x80 && code < 0xa0) || (code >= 0xd800 && code < 0xe000)) return `U+${code.toString(16).toUpperCase()}`;
  if ((code >= 0xfff9 && code <= 0xfffb) || (code >= 0xe0000 && code < 0xe0080)) return `U+${code.toString(16).toUpperCase()}`;
  return null;
}

/** `pieces(" a\n")` is a space glyph, plain "a", a return glyph. An empty token is one glyph, the empty set. */
export function pieces(token: string): Piece[] {
  if (token === "") return [{ text: "\u2205", glyph: true }];
  const characters = [...token];
  const blank = characters.every((character) => character === " ");
  const out: Piece[] = [];
  characters.forEach((character, index) => {
    const glyph = glyphOf(character, blank || index === 0 || index === characters.length - 1);
    const last = out[out.length - 1];
    if (glyph !== null) out.push({ text: glyph, glyph: true });
    else if (last && !last.glyph) last.text += character;
    else out.push({ text: MARK.test(character) ? `\u25cc${character}` : character, glyph: false }); // it would land on what is before
  });
  return out;
}

/** The token in words, for a screen reader. */
export function spoken(token: string): string {
  return pieces(token)
    .map(({ text, glyph }) => (glyph ? (text === SPACE ? "space" : text === "\u23ce" ? "new line" : text) : text))
    .join(" ");
}
