// What the words of a gallery mean, for who meets them there: closed until it is asked for.
import { h } from "./dom.ts";

const TERMS: Array<[term: string, words: string]> = [
  ["\u03b5, the bandwidth", "how far an activation may lie from the picked one and still count as much the same. With the usual kernel an input at d = \u03b5 counts 0.61 times as much as one at d = 0, one at 2 \u03b5 0.14 times, one at 3 \u03b5 0.01 times."],
  ["d", "the distance of an input's activation to the picked one, per coordinate. Two unrelated inputs lie about 1.4 apart (in the mean square; most lie nearer where a few directions hold most of the variance)."],
  ["P(X)", "the prompts thought possible, from which inputs are proposed."],
  ["posterior", "the inputs of P(X), each counted by how near its activation lies: what the activation leaves possible."],
  ["reliable samples", "enough of them count, and neither the picked input nor a few hundred draws of P(X) show that something near was missed; what is rare may have been. What they say may be little all the same."],
  ["copies, distinct", "how many samples are the picked input itself, and how many different ones there are."],
  ["fixed, leaning, free", "a token that nearly all of the other near inputs have in its place too; one that clearly more of them have than P(X)\u2019s; one of which so many samples show neither: it may be held a little, or together with others."],
  ["weight", "an input's share of the posterior: the more, the likelier P(X) makes it and the nearer it lies. It makes up for what the generator proposes too often or too seldom."],
  ["edge of the ball", "the distance within which 95 % of the weight lies."],
  ["effective", "as many samples of equal weight would tell as much (ESS). Where it is small, a few inputs carry every number here."],
  ["k\u2011hat", "how uneven the weights are at their heaviest. Above 0.7 a sample that was not drawn may outweigh those that were."],
  ["bits about the input", "by how much the activation, read to within \u03b5, narrows P(X) down: one bit halves it."],
  ["shading", "how much likelier (+) or less likely (\u2212) a token is for the generator once it is given the activation. That is the generator\u2019s guess for one token after the other; what is fixed or free is read off the inputs that were found."],
  ["bits about it", "in an opened input: how much likelier each token is to the generator with the activation than without. They add up to all that it says of the input, by the generator\u2019s odds."],
  ["log q, log P", "the log-probability of an input to the generator, and in P(X)."],
];

export function terms(): HTMLElement {
  const list = h("dl", { class: "isn-terms-list" }, ...TERMS.map(([term, words]) => h("div", null, h("dt", null, term), h("dd", null, words))));
  return h("details", { class: "isn-terms" }, h("summary", null, "What these words mean"), list);
}
