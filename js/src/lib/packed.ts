// The rows of a saved page: columns as JSON, deflated, in base64, as inversescope_nb/_packed_rows.py writes them.
import type { Row } from "./rows.ts";

export async function unpacked(text: string): Promise<Row[]> {
  if (typeof DecompressionStream === "undefined") throw new Error("this browser cannot read the saved inputs; one of 2023 or later can");
  const stream = new DecompressionStream("deflate");
  const writer = stream.writable.getWriter();
  const written = writer.write(Uint8Array.from(atob(text), (character) => character.charCodeAt(0))).then(() => writer.close());
  const decoder = new TextDecoder();
  let json = "";
  const reader = stream.readable.getReader();
  const read = async () => {
    for (let part = await reader.read(); !part.done; part = await reader.read()) json += decoder.decode(part.value, { stream: true });
  };
  await Promise.all([written, read()]);
  const columns: Array<[string, unknown[]]> = Object.entries(JSON.parse(json));
  const length = columns[0]?.[1].length ?? 0;
  return Array.from({ length }, (_, index) => Object.fromEntries(columns.map(([name, values]) => [name, values[index]])) as unknown as Row);
}
