// What a view told Python about a trait. Kernels repeat what they are told (ipywidgets' echo), and while something newer
// waits to be sent, the repeat of an older value would be shown for a moment.

/** How long a repeat is waited for, in milliseconds: some kernels never repeat. */
const WAIT = 2000;

export class Told {
  private values: Array<{ value: unknown; until: number }> = [];
  last: unknown;

  tell(value: unknown): void {
    this.last = value;
    this.values.push({ value, until: performance.now() + WAIT });
  }

  /** Nothing is waited for any more. */
  forget(): void {
    this.values = [];
  }

  /** Whether what is heard repeats something that was told before the last; what is neither is Python's own. */
  isOlder(heard: unknown): boolean {
    const now = performance.now();
    const waited = this.values.filter(({ until }) => until > now);
    const found = waited.findIndex(({ value }) => value === heard);
    this.values = found < 0 ? [] : waited.slice(found + 1);
    return this.values.length > 0;
  }
}
