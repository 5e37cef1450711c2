// Where a gallery's rows come from: Python, 50 at a time, or (in a saved page) a list that is all there.
import type { Rpc } from "./rpc.ts";

/** One distinct input among the samples; equal inputs are one row with a count. */
export interface Row {
  rank: number;
  tokens: string[];
  /** For each token the index of the picked input's token that it stands for. */
  at: Array<number | null>;
  info: Array<number | null>;
  text: string;
  d: number | null;
  weight: number;
  /** The same with the heaviest samples cut off, as rates of hypotheses count them. */
  weight_in_rates: number;
  count: number;
  in_ball: boolean;
  is_copy: boolean;
  on_support: boolean;
  log_q: number | null;
  log_no_condition: number | null;
  log_prior: number | null;
  relative_norm: number;
  cosine: number;
  /** In a comparison: the distance to the other activation, whether it is inside that ball, and on which list. */
  d_other?: number | null;
  in_other?: boolean;
  place?: "only" | "both" | "out";
}

export const SORTS = { distance: "nearest first", weight: "heaviest first", count: "most frequent first" };

export type Sort = keyof typeof SORTS;

/** How a column is called in a file. */
export const inFile = (column: string): string => (column.startsWith("log_") ? `${column}_nats` : column);

/** What the list shows, and in which order. */
export interface Query {
  text: string;
  regex: boolean;
  inside: boolean;
  sort: Sort;
}

export const EVERYTHING: Query = { text: "", regex: false, inside: false, sort: "distance" };

export interface Page {
  revision: number;
  start: number;
  matching: number;
  rows: Row[];
}

export const PAGE = 50;

export type Source = (query: Query, start: number) => Promise<Page>;

export function remote(rpc: Rpc): Source {
  return (query, start) => rpc.request<Page>("page", { ...query, start, size: PAGE });
}

/** All rows of a list that comes in parts, asked for one after another; refuses where they are of two inversions. */
export async function allRows(ask: (start: number) => Promise<{ revision: number; matching: number; rows: Row[] } | null>, revision: number): Promise<Row[]> {
  const rows: Row[] = [];
  for (let part = await ask(0); part; part = await ask(rows.length)) {
    if (part.revision !== revision) throw new Error("Other inputs came while these were being saved. Save once more.");
    rows.push(...part.rows);
    if (part.rows.length === 0 || rows.length >= part.matching) break;
  }
  return rows;
}

export function order(rows: Row[], sort: Sort): Row[] {
  const key: Record<Sort, (row: Row) => number> = { distance: (row) => row.rank, weight: (row) => -row.weight, count: (row) => -row.count };
  return [...rows].sort((a, b) => key[sort](a) - key[sort](b) || a.rank - b.rank);
}

function matcher({ text, regex }: Query): (row: Row) => boolean {
  if (!text) return () => true;
  if (!regex) {
    const wanted = text.toLowerCase();
    return (row) => row.text.toLowerCase().includes(wanted);
  }
  const pattern = new RegExp(text, "u");
  return (row) => pattern.test(row.text);
}

export function select(rows: Row[], query: Query, start: number, size: number, revision = 0): Page {
  const matches = matcher(query);
  const matching = order(
    rows.filter((row) => (row.in_ball || !query.inside) && matches(row)),
    query.sort,
  );
  return { revision, start, matching: matching.length, rows: matching.slice(start, start + size) };
}
